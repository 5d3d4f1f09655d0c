"""Every URL of the API, with how it is called and answers, and what its calls are about."""

import json
from typing import Any

from allauth.account.models import EmailAddress
from django.urls import get_resolver

from accounts.models import User
from aliases.models import Alias, NameSpace
from api.addy.ids import public_id
from contacts.addresses import new_reverse_address
from contacts.models import Contact
from domains.models import Domain
from mail.encryption.certificates import read
from mail.models import Activity, DestinationKey, ReturnedMessage
from tests.api.addy.name_spaces import KINDS
from tests.api.calls import LIST, V1
from tests.rig.openpgp import FINGERPRINT, PUBLIC_KEY
from tests.rig.ruling import rule as make_a_rule

RULE = {
    "name": "Spam",
    "conditions": [{"type": "subject", "match": "contains", "values": ["spam"]}],
    "actions": [{"type": "block", "value": True}],
    "operator": "AND",
    "forwards": True,
}
SWITCHES = ("encrypted", "protected-headers", "inline-encrypted", "remove-pgp-keys", "remove-pgp-signatures")
# Every URL of the API: its path, and each method with a body that it takes. A new one needs a line here.
URLS: dict[str, tuple[str, dict[str, Any]]] = {
    "api-alias-random": ("/api/alias/random/new", {"POST": {"note": "x"}}),
    "api-alias-list": (LIST, {"GET": None, "POST": {"query": "x"}}),
    "api-alias": (
        "/api/aliases/{id}",
        {"GET": None, "PUT": {"note": "x"}, "PATCH": {"pinned": True}, "DELETE": None},
    ),
    "api-alias-toggle": ("/api/aliases/{id}/toggle", {"POST": None}),
    "api-alias-activities": ("/api/aliases/{id}/activities?page_id=0", {"GET": None}),
    "api-alias-list-old": ("/api/aliases?page_id=0", {"GET": None, "POST": {"query": "x"}}),
    "api-alias-custom": ("/api/v3/alias/custom/new", {"POST": {"alias_prefix": "x"}}),
    "api-alias-custom-old": ("/api/v2/alias/custom/new", {"POST": {"alias_prefix": "x"}}),
    "api-alias-options": ("/api/v5/alias/options", {"GET": None}),
    "api-alias-options-old": ("/api/v4/alias/options", {"GET": None}),
    "api-alias-contacts": (
        "/api/aliases/{id}/contacts?page_id=0",
        {"GET": None, "POST": {"contact": "a@b.test"}},
    ),
    "api-contact": ("/api/contacts/{contact}", {"DELETE": None}),
    "api-contact-toggle": ("/api/contacts/{contact}/toggle", {"POST": None}),
    "api-mailboxes": ("/api/mailboxes", {"GET": None, "POST": {"email": "x@home.test"}}),
    "api-mailboxes-all": ("/api/v2/mailboxes", {"GET": None}),
    "api-mailbox": ("/api/mailboxes/{mailbox}", {"PUT": {"default": False}, "DELETE": None}),
    "api-setting": ("/api/setting", {"GET": None, "PATCH": {"alias_generator": "uuid"}}),
    "api-setting-domains": ("/api/v2/setting/domains", {"GET": None}),
    "api-setting-domains-old": ("/api/setting/domains", {"GET": None}),
    "api-custom-domains": ("/api/custom_domains", {"GET": None}),
    "api-custom-domain": ("/api/custom_domains/1", {"PATCH": {"catch_all": True}}),
    "api-custom-domain-trash": ("/api/custom_domains/1/trash", {"GET": None}),
    "api-notifications": ("/api/notifications", {"GET": None}),
    "api-export-data": ("/api/export/data", {"GET": None}),
    "api-export-aliases": ("/api/export/aliases", {"GET": None}),
    "api-auth-login": ("/api/auth/login", {"POST": {}}),
    "api-auth-mfa": ("/api/auth/mfa", {"POST": {}}),
    "api-api-key": ("/api/api_key", {"POST": {"device": "x"}}),
    "api-logout": ("/api/logout", {"GET": None}),
    "api-user-info": ("/api/user_info", {"GET": None, "PATCH": {"name": "x"}}),
    "api-stats": ("/api/stats", {"GET": None}),
    "api-auth-register": ("/api/auth/register", {"POST": {}}),
    "api-auth-activate": ("/api/auth/activate", {"POST": {}}),
    "api-auth-reactivate": ("/api/auth/reactivate", {"POST": {}}),
    "api-auth-forgot-password": ("/api/auth/forgot_password", {"POST": {}}),
    "api-sudo": ("/api/sudo", {"PATCH": {}}),
    "api-user": ("/api/user", {"DELETE": None}),
    "api-cookie-token": ("/api/user/cookie_token", {"GET": None}),
    "api-unlink-proton-account": ("/api/setting/unlink_proton_account", {"DELETE": None}),
    "api-notification-read": ("/api/notifications/1/read", {"POST": None}),
    "addy-aliases": (f"{V1}/aliases", {"GET": None, "POST": {"domain": "example.com"}}),
    "addy-alias": (f"{V1}/aliases/{{uuid}}", {"GET": None, "PATCH": {"description": "x"}, "DELETE": None}),
    "addy-alias-restore": (f"{V1}/aliases/{{uuid}}/restore", {"PATCH": None}),
    "addy-alias-forget": (f"{V1}/aliases/{{uuid}}/forget", {"DELETE": None}),
    "addy-active-aliases": (f"{V1}/active-aliases", {"POST": {"id": "{uuid}"}}),
    "addy-active-alias": (f"{V1}/active-aliases/{{uuid}}", {"DELETE": None}),
    "addy-pinned-aliases": (f"{V1}/pinned-aliases", {"POST": {"id": "{uuid}"}}),
    "addy-pinned-alias": (f"{V1}/pinned-aliases/{{uuid}}", {"DELETE": None}),
    "addy-alias-recipients": (f"{V1}/alias-recipients", {"POST": {"alias_id": "{uuid}"}}),
    **{
        f"addy-bulk-{deed}": (f"{V1}/aliases/{deed}/bulk", {"POST": {"ids": ["{uuid}"]}})
        for deed in ("get", "deactivate", "pin", "unpin", "delete", "forget", "recipients")
    },
    # Nothing of the kind is there to be done: the alias is on, and not deleted.
    "addy-bulk-activate": (f"{V1}/aliases/activate/bulk", {"POST": {"ids": ["{uuid}"]}}),
    "addy-bulk-restore": (f"{V1}/aliases/restore/bulk", {"POST": {"ids": ["{uuid}"]}}),
    "addy-attached-recipients-only": (f"{V1}/attached-recipients-only", {"POST": {"id": "{uuid}"}}),
    "addy-one-attached-recipients-only": (f"{V1}/attached-recipients-only/{{uuid}}", {"DELETE": None}),
    **{
        f"addy-{name.format(word)}": (f"{V1}/{path.format(word)}", bodies)
        for word in KINDS
        for name, path, bodies in (
            ("{}s", "{}s", {"GET": None, "POST": {}}),
            ("{}", "{0}s/{{{0}}}", {"GET": None, "PATCH": {"description": "x"}, "DELETE": None}),
            (
                "{}-default-recipient",
                "{0}s/{{{0}}}/default-recipient",
                {"PATCH": {"default_recipient": "{recipient}"}},
            ),
            ("active-{}s", "active-{}s", {"POST": {"id": f"{{{word}}}"}}),
            ("active-{}", "active-{0}s/{{{0}}}", {"DELETE": None}),
            ("catch-all-{}s", "catch-all-{}s", {"POST": {"id": f"{{{word}}}"}}),
            ("catch-all-{}", "catch-all-{0}s/{{{0}}}", {"DELETE": None}),
        )
    },
    "addy-loginable-usernames": (f"{V1}/loginable-usernames", {"POST": {"id": "{username}"}}),
    "addy-loginable-username": (f"{V1}/loginable-usernames/{{username}}", {"DELETE": None}),
    "addy-rules": (f"{V1}/rules", {"GET": None, "POST": RULE}),
    "addy-rule": (f"{V1}/rules/{{rule}}", {"GET": None, "PATCH": RULE, "DELETE": None}),
    "addy-reorder-rules": (f"{V1}/reorder-rules", {"POST": {"ids": ["{rule}"]}}),
    "addy-active-rules": (f"{V1}/active-rules", {"POST": {"id": "{rule}"}}),
    "addy-active-rule": (f"{V1}/active-rules/{{rule}}", {"DELETE": None}),
    "addy-blocklist": (f"{V1}/blocklist", {"GET": None, "POST": {"value": "spam@shop.test"}}),
    "addy-blocked": (f"{V1}/blocklist/{{blocked}}", {"DELETE": None}),
    "addy-bulk-block": (f"{V1}/blocklist/store/bulk", {"POST": {"values": ["spam@shop.test"]}}),
    "addy-bulk-unblock": (f"{V1}/blocklist/delete/bulk", {"POST": {"ids": ["{blocked}"]}}),
    "addy-account-notifications": (f"{V1}/account-notifications", {"GET": None}),
    "addy-failed-deliveries": (f"{V1}/failed-deliveries", {"GET": None}),
    "addy-failed-delivery": (f"{V1}/failed-deliveries/{{failed}}", {"GET": None, "DELETE": None}),
    "addy-failed-download": (f"{V1}/failed-deliveries/{{failed}}/download", {"GET": None}),
    "addy-failed-resend": (f"{V1}/failed-deliveries/{{failed}}/resend", {"POST": None}),
    "addy-logout": ("/api/auth/logout", {"POST": None}),
    "addy-domain-options": (f"{V1}/domain-options", {"GET": None}),
    "addy-token-details": (f"{V1}/api-token-details", {"GET": None}),
    "addy-account-details": (f"{V1}/account-details", {"GET": None}),
    "addy-delete-account": ("/api/auth/delete-account", {"POST": {"password": "x"}}),
    "addy-chart-data": (f"{V1}/chart-data", {"GET": None}),
    "addy-recipients": (f"{V1}/recipients", {"GET": None, "POST": {"email": "x@home.test"}}),
    "addy-recipient": (f"{V1}/recipients/{{recipient}}", {"GET": None, "DELETE": None}),
    "addy-recipient-resend": (
        f"{V1}/recipients/email/resend",
        {"POST": {"recipient_id": "{unverified}"}},
    ),
    "addy-allowed-recipients": (f"{V1}/allowed-recipients", {"POST": {"id": "{recipient}"}}),
    "addy-allowed-recipient": (f"{V1}/allowed-recipients/{{recipient}}", {"DELETE": None}),
    "addy-recipient-key": (
        f"{V1}/recipient-keys/{{recipient}}",
        {"PATCH": {"key_data": PUBLIC_KEY}, "DELETE": None},
    ),
    **{
        f"addy-{word}-recipients": (f"{V1}/{word}-recipients", {"POST": {"id": "{recipient}"}})
        for word in SWITCHES
    },
    **{
        f"addy-{word}-recipient": (f"{V1}/{word}-recipients/{{recipient}}", {"DELETE": None})
        for word in SWITCHES
    },
    "addy-app-version": (f"{V1}/app-version", {"GET": None}),
}
# What answers otherwise than with 200, or 201 for a creation, when it is called so.
STATUS = {
    "/api/v3/alias/custom/new": 412,
    "/api/v2/alias/custom/new": 412,
    "/api/custom_domains/1": 403,
    "/api/custom_domains/1/trash": 403,
    "/api/auth/login": 400,
    "/api/auth/logout": 204,
    "/api/auth/delete-account": 403,
    f"{V1}/attached-recipients-only": 403,
    f"{V1}/loginable-usernames": 403,
    f"{V1}/inline-encrypted-recipients": 403,
    f"{V1}/remove-pgp-keys-recipients": 403,
    f"{V1}/remove-pgp-signatures-recipients": 403,
    "/api/auth/mfa": 400,
    "/api/api_key": 440,
    "/api/sudo": 403,
    "/api/user": 440,
    "/api/user/cookie_token": 403,
    "/api/setting/unlink_proton_account": 400,
    "/api/notifications/1/read": 403,
    f"{V1}/failed-deliveries/{{failed}}/download": 403,
    f"{V1}/failed-deliveries/{{failed}}/resend": 204,
    f"{V1}/aliases/activate/bulk": 404,
    f"{V1}/aliases/restore/bulk": 404,
}
# What is listed, and cannot be added; and what cannot be taken away.
NOTHING_TO_ADD = tuple(f"{V1}/{word}s" for word in KINDS)
NOT_DELETED = (
    f"{V1}/allowed-recipients",
    *(f"{V1}/{word}s" for word in KINDS),
    *(f"{V1}/active-{word}s" for word in KINDS),
)
OPEN = tuple(
    f"/api/auth/{deed}" for deed in ("login", "mfa", "register", "activate", "reactivate", "forgot_password")
)
CALLS = [(method, path, body) for path, methods in URLS.values() for method, body in methods.items()]
ONE_ALIAS = [call for call in CALLS if "{id}" in call[1]]
NAMES_AN_ALIAS = [call for call in CALLS if "{uuid}" in call[1] + json.dumps(call[2])]
KEYED = [call for call in CALLS if call[1] not in OPEN]
NAME_SPACES = (("whole.test", ""), ("shared-out.test", "shops"))


def name_space(owner: User, domain_name: str, suffix: str) -> NameSpace:
    """A name space of the owner's at a domain of its own, which the owner may use."""
    domain, _made = Domain.objects.get_or_create(name=domain_name, defaults={"anonmail_enabled": True})
    domain.grant(owner)
    return NameSpace.objects.get_or_create(domain=domain, owner=owner, suffix=suffix)[0]


def named(alias: Alias, home: EmailAddress) -> dict[str, Any]:
    """What stands for the names in braces; an activity and a contact of the alias are made for it."""
    spam = {"address": "spam@shop.test", "reverse_address": new_reverse_address(alias.domain.name)}
    contact = Contact.objects.create(alias=alias, blocked=True, **spam)
    failed = Activity.objects.create(alias=alias, event="bounce", destination=home, status="5.1.1")
    ReturnedMessage.keep(failed, b"Subject: Hi\r\n\r\nHello\r\n")
    facts = {"fingerprint": FINGERPRINT, "certificate": read(PUBLIC_KEY.encode()).octets}
    DestinationKey.objects.update_or_create(destination=home, defaults=facts)
    assert alias.owner is not None
    rule = make_a_rule(alias.owner, blocks=True)
    # The mail that verifies an address is not sent twice in a few minutes.
    number = EmailAddress.objects.count()
    new = EmailAddress.objects.create(user=alias.owner, email=f"new{number}@home.test")
    whole, suffixed = (name_space(alias.owner, name, suffix) for name, suffix in NAME_SPACES)
    return {
        "domain": public_id("domain", whole.domain_id),
        "username": public_id("name space", suffixed.pk),
        "unverified": public_id("recipient", new.pk),
        "id": alias.pk,
        "uuid": alias.uuid,
        "mailbox": home.pk,
        "recipient": public_id("recipient", home.pk),
        "rule": public_id("rule", rule.pk),
        "failed": public_id("failed delivery", failed.pk),
        "contact": contact.pk,
        "blocked": public_id("blocked", contact.address),
    }


def patterns() -> Any:
    """The API's URL patterns, each without the `api/` before it."""
    api = next(pattern for pattern in get_resolver().url_patterns if str(pattern.pattern) == "api/")
    return api.url_patterns  # type: ignore[union-attr]


def views() -> dict[str, Any]:
    """The API's URL names and their view classes."""
    return {pattern.name: pattern.callback.cls for pattern in patterns()}
