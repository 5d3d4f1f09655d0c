"""The endpoints beside creation, as SimpleLogin answers them."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.urls import get_resolver
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, NameSpace
from api.addy.ids import public_id
from contacts.addresses import new_reverse_address
from contacts.models import Contact
from domains.models import Domain
from mail.encryption.certificates import read
from mail.models import Activity, DestinationKey, ReturnedMessage
from tests.conftest import Api
from tests.rig.openpgp import FINGERPRINT, PUBLIC_KEY
from tests.rig.ruling import rule as make_a_rule
from tokens.authentication import WRONG_CREDENTIALS

pytestmark = pytest.mark.django_db

RULE = {
    "name": "Spam",
    "conditions": [{"type": "subject", "match": "contains", "values": ["spam"]}],
    "actions": [{"type": "block", "value": True}],
    "operator": "AND",
    "forwards": True,
}

LIST = "/api/v2/aliases?page_id=0"
ADDY = "/api/v1"


# addy.io's words for name spaces: of a whole domain, and with a suffix.
SPACES = ("domain", "username")
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
    "addy-aliases": (f"{ADDY}/aliases", {"GET": None, "POST": {"domain": "example.com"}}),
    "addy-alias": (f"{ADDY}/aliases/{{uuid}}", {"GET": None, "PATCH": {"description": "x"}, "DELETE": None}),
    "addy-alias-restore": (f"{ADDY}/aliases/{{uuid}}/restore", {"PATCH": None}),
    "addy-alias-forget": (f"{ADDY}/aliases/{{uuid}}/forget", {"DELETE": None}),
    "addy-active-aliases": (f"{ADDY}/active-aliases", {"POST": {"id": "{uuid}"}}),
    "addy-active-alias": (f"{ADDY}/active-aliases/{{uuid}}", {"DELETE": None}),
    "addy-pinned-aliases": (f"{ADDY}/pinned-aliases", {"POST": {"id": "{uuid}"}}),
    "addy-pinned-alias": (f"{ADDY}/pinned-aliases/{{uuid}}", {"DELETE": None}),
    "addy-alias-recipients": (f"{ADDY}/alias-recipients", {"POST": {"alias_id": "{uuid}"}}),
    **{
        f"addy-bulk-{deed}": (f"{ADDY}/aliases/{deed}/bulk", {"POST": {"ids": ["{uuid}"]}})
        for deed in ("get", "deactivate", "pin", "unpin", "delete", "forget", "recipients")
    },
    # Nothing of the kind is there to be done: the alias is on, and not deleted.
    "addy-bulk-activate": (f"{ADDY}/aliases/activate/bulk", {"POST": {"ids": ["{uuid}"]}}),
    "addy-bulk-restore": (f"{ADDY}/aliases/restore/bulk", {"POST": {"ids": ["{uuid}"]}}),
    "addy-attached-recipients-only": (f"{ADDY}/attached-recipients-only", {"POST": {"id": "{uuid}"}}),
    "addy-one-attached-recipients-only": (f"{ADDY}/attached-recipients-only/{{uuid}}", {"DELETE": None}),
    **{
        f"addy-{name.format(word)}": (f"{ADDY}/{path.format(word)}", bodies)
        for word in SPACES
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
    "addy-loginable-usernames": (f"{ADDY}/loginable-usernames", {"POST": {"id": "{username}"}}),
    "addy-loginable-username": (f"{ADDY}/loginable-usernames/{{username}}", {"DELETE": None}),
    "addy-rules": (f"{ADDY}/rules", {"GET": None, "POST": RULE}),
    "addy-rule": (f"{ADDY}/rules/{{rule}}", {"GET": None, "PATCH": RULE, "DELETE": None}),
    "addy-reorder-rules": (f"{ADDY}/reorder-rules", {"POST": {"ids": ["{rule}"]}}),
    "addy-active-rules": (f"{ADDY}/active-rules", {"POST": {"id": "{rule}"}}),
    "addy-active-rule": (f"{ADDY}/active-rules/{{rule}}", {"DELETE": None}),
    "addy-blocklist": (f"{ADDY}/blocklist", {"GET": None, "POST": {"value": "spam@shop.test"}}),
    "addy-blocked": (f"{ADDY}/blocklist/{{blocked}}", {"DELETE": None}),
    "addy-bulk-block": (f"{ADDY}/blocklist/store/bulk", {"POST": {"values": ["spam@shop.test"]}}),
    "addy-bulk-unblock": (f"{ADDY}/blocklist/delete/bulk", {"POST": {"ids": ["{blocked}"]}}),
    "addy-account-notifications": (f"{ADDY}/account-notifications", {"GET": None}),
    "addy-failed-deliveries": (f"{ADDY}/failed-deliveries", {"GET": None}),
    "addy-failed-delivery": (f"{ADDY}/failed-deliveries/{{failed}}", {"GET": None, "DELETE": None}),
    "addy-failed-download": (f"{ADDY}/failed-deliveries/{{failed}}/download", {"GET": None}),
    "addy-failed-resend": (f"{ADDY}/failed-deliveries/{{failed}}/resend", {"POST": None}),
    "addy-logout": ("/api/auth/logout", {"POST": None}),
    "addy-domain-options": (f"{ADDY}/domain-options", {"GET": None}),
    "addy-token-details": (f"{ADDY}/api-token-details", {"GET": None}),
    "addy-account-details": (f"{ADDY}/account-details", {"GET": None}),
    "addy-delete-account": ("/api/auth/delete-account", {"POST": {"password": "x"}}),
    "addy-chart-data": (f"{ADDY}/chart-data", {"GET": None}),
    "addy-recipients": (f"{ADDY}/recipients", {"GET": None, "POST": {"email": "x@home.test"}}),
    "addy-recipient": (f"{ADDY}/recipients/{{recipient}}", {"GET": None, "DELETE": None}),
    "addy-recipient-resend": (
        f"{ADDY}/recipients/email/resend",
        {"POST": {"recipient_id": "{unverified}"}},
    ),
    "addy-allowed-recipients": (f"{ADDY}/allowed-recipients", {"POST": {"id": "{recipient}"}}),
    "addy-allowed-recipient": (f"{ADDY}/allowed-recipients/{{recipient}}", {"DELETE": None}),
    "addy-recipient-key": (
        f"{ADDY}/recipient-keys/{{recipient}}",
        {"PATCH": {"key_data": PUBLIC_KEY}, "DELETE": None},
    ),
    **{
        f"addy-{word}-recipients": (f"{ADDY}/{word}-recipients", {"POST": {"id": "{recipient}"}})
        for word in SWITCHES
    },
    **{
        f"addy-{word}-recipient": (f"{ADDY}/{word}-recipients/{{recipient}}", {"DELETE": None})
        for word in SWITCHES
    },
    "addy-app-version": (f"{ADDY}/app-version", {"GET": None}),
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
    f"{ADDY}/attached-recipients-only": 403,
    f"{ADDY}/loginable-usernames": 403,
    f"{ADDY}/inline-encrypted-recipients": 403,
    f"{ADDY}/remove-pgp-keys-recipients": 403,
    f"{ADDY}/remove-pgp-signatures-recipients": 403,
    "/api/auth/mfa": 400,
    "/api/api_key": 440,
    "/api/sudo": 403,
    "/api/user": 440,
    "/api/user/cookie_token": 403,
    "/api/setting/unlink_proton_account": 400,
    "/api/notifications/1/read": 403,
    f"{ADDY}/failed-deliveries/{{failed}}/download": 403,
    f"{ADDY}/failed-deliveries/{{failed}}/resend": 204,
    f"{ADDY}/aliases/activate/bulk": 404,
    f"{ADDY}/aliases/restore/bulk": 404,
}
# What is listed, and cannot be added; and what cannot be taken away.
NOTHING_TO_ADD = tuple(f"{ADDY}/{word}s" for word in SPACES)
NOT_DELETED = (
    f"{ADDY}/allowed-recipients",
    *(f"{ADDY}/{word}s" for word in SPACES),
    *(f"{ADDY}/active-{word}s" for word in SPACES),
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


def views() -> dict[str, Any]:
    """The API's URL names and their view classes."""
    api = next(pattern for pattern in get_resolver().url_patterns if str(pattern.pattern) == "api/")
    return {pattern.name: pattern.callback.cls for pattern in api.url_patterns}  # type: ignore[union-attr]


def test_every_url_and_method_of_the_api_has_a_line() -> None:
    methods = {name: set(view().allowed_methods) - {"OPTIONS"} for name, view in views().items()}

    assert methods == {name: set(bodies) for name, (_path, bodies) in URLS.items()}


@pytest.mark.parametrize(("method", "path", "body"), KEYED)
def test_every_url_works_with_a_key_and_needs_one(
    alice: User, api: Api, method: str, path: str, body: Any
) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    expected = STATUS.get(path, 200)
    if path.endswith("/random/new") or (method, path) in {
        ("POST", "/api/mailboxes"),
        ("POST", "/api/aliases/{id}/contacts?page_id=0"),
        ("POST", f"{ADDY}/aliases"),
        ("POST", f"{ADDY}/recipients"),
        ("POST", f"{ADDY}/blocklist"),
        ("POST", f"{ADDY}/rules"),
        ("POST", f"{ADDY}/blocklist/store/bulk"),
    }:
        expected = 201
    if method == "POST" and path in NOTHING_TO_ADD:
        expected = 403
    if path.startswith(ADDY) and method == "DELETE":
        expected = 403 if path.startswith(NOT_DELETED) else 204
    alias = issue(owner=alice, destinations=[alice.email, home.email])
    names = named(alias, home)
    path = path.format(**names)
    known = r"\{(uuid|blocked|recipient|unverified|rule|domain|username)\}"
    text = re.sub(known, lambda found: str(names[found[1]]), json.dumps(body or {}))

    refused = APIClient().generic(method, path, text, "application/json")
    answer = api(alice).generic(method, path, text, "application/json")

    assert refused.status_code == 401
    is_addys = path.startswith((ADDY, "/api/auth/"))
    words = {"message": "Unauthenticated."} if is_addys else {"error": str(WRONG_CREDENTIALS)}
    assert refused.json() == words
    assert answer.status_code == expected
    if expected == 204:
        assert answer.content == b""
        return
    is_csv = path == "/api/export/aliases"
    assert answer["Content-Type"] == ("text/csv; charset=utf-8" if is_csv else "application/json")


@pytest.mark.parametrize(("method", "path", "body"), NAMES_AN_ALIAS)
def test_to_addy_a_strangers_and_an_unknown_alias_are_the_same_nothing(
    alice: User, root: User, api: Api, method: str, path: str, body: Any
) -> None:
    theirs = issue(owner=root, domain="example.com")
    stripped = issue(owner=alice)
    Alias.objects.filter(pk=stripped.pk).strip()
    before = list(Alias.objects.order_by("pk").values())
    client = api(alice)

    answers = [
        client.generic(
            method,
            path.replace("{uuid}", str(key)),
            json.dumps(body or {}).replace("{uuid}", str(key)),
            "application/json",
        )
        for key in (theirs.uuid, stripped.uuid, "50c9e585-e7f5-41c4-9016-9014c15454bc")
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert {tuple(answer.json()) for answer in answers} == {("message",)}
    assert len({answer.content for answer in answers}) == 1
    assert list(Alias.objects.order_by("pk").values()) == before


@pytest.mark.parametrize(("method", "path", "body"), ONE_ALIAS)
def test_a_strangers_a_deleted_and_an_unknown_alias_are_the_same_nothing(
    alice: User, root: User, api: Api, method: str, path: str, body: Any
) -> None:
    theirs = issue(owner=root, domain="example.com")
    deleted = issue(owner=alice)
    deleted.soft_delete()
    stripped = issue(owner=alice)
    Alias.objects.filter(pk=stripped.pk).strip()
    before = list(Alias.objects.order_by("pk").values())
    client = api(alice)

    answers = [
        client.generic(method, path.format(id=key), json.dumps(body or {}), "application/json")
        for key in (theirs.pk, deleted.pk, stripped.pk, 999_999, 0, 10**17)
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.content for answer in answers} == {b'{"error":"There is no such alias."}'}
    assert list(Alias.objects.order_by("pk").values()) == before


def test_user_info_tells_whose_key_it_is(alice: User, api: Api) -> None:
    alice.name = "Alice"
    alice.save()

    assert api(alice).get("/api/user_info").json() == {
        "name": "Alice",
        "email": "alice@example.com",
        "is_premium": True,
        "in_trial": False,
        "trial_end_timestamp": None,
        "max_alias_free_plan": 0,
        "connected_proton_address": None,
        "can_create_reverse_alias": True,
        "profile_picture_url": None,
    }


def test_the_list_has_twenty_a_page_pinned_and_recent_first(alice: User, api: Api) -> None:
    now = timezone.now()
    for number in range(45):
        alias = issue(owner=alice)
        Alias.objects.filter(pk=alias.pk).update(
            active_at=now - timedelta(hours=number), pinned=number in {30, 40}
        )
    client = api(alice)

    pages = [client.get(f"/api/v2/aliases?page_id={page}").json()["aliases"] for page in range(4)]

    assert [len(page) for page in pages] == [20, 20, 5, 0]
    listed = [row["id"] for page in pages for row in page]
    assert listed == list(Alias.objects.recent_first().values_list("pk", flat=True))
    assert [row["pinned"] for row in pages[0][:3]] == [True, True, False]


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_list_is_searched(alice: User, api: Api, method: str) -> None:
    code = issue(owner=alice, hostname="github.com", note="100% Code")
    shop = issue(owner=alice, hostname="shop.test", note="")
    shop.edit(name="Größe")
    gone = issue(owner=alice, hostname="github.com")
    gone.soft_delete()
    client = api(alice)

    def found(text: str) -> set[int]:
        answer = client.generic(method.upper(), LIST, f'{{"query": "{text}"}}'.encode(), "application/json")
        return {row["id"] for row in answer.json()["aliases"]}

    assert found(code.address.upper()) == found(code.address) == {code.pk}
    assert found("%") == {code.pk}
    assert found("\\\\") == found("\\u0000qqq\\u0000") == set()
    assert found("") == {code.pk, shop.pk}
    assert found("GitHub") == found("100%") == found("code") == {code.pk}
    assert found("shop.test") == {shop.pk}
    assert found("Größe") == {shop.pk}
    assert found("_") == found("nothing") == set()


@pytest.mark.parametrize("text", ["x" * 10_001, "%" * 100_000, "ü" * 100_000])
def test_a_search_that_is_longer_than_any_note_finds_nothing(alice: User, api: Api, text: str) -> None:
    issue(owner=alice)

    assert api(alice).post(LIST, {"query": text}, format="json").json() == {"aliases": []}


def test_the_longest_search_finds_the_longest_note(alice: User, api: Api) -> None:
    alias = issue(owner=alice, note="🦄%" * 5_000)

    answer = api(alice).post(LIST, {"query": alias.note}, format="json")

    assert [row["id"] for row in answer.json()["aliases"]] == [alias.pk]


def test_the_first_flag_wins_whatever_its_value(alice: User, api: Api) -> None:
    pinned, off, on = (issue(owner=alice) for _ in range(3))
    pinned.edit(pinned=True)
    off.disable()
    client = api(alice)

    def found(flags: str) -> set[int]:
        return {row["id"] for row in client.get(f"{LIST}&{flags}").json()["aliases"]}

    assert found("pinned") == found("disabled&pinned=false") == {pinned.pk}
    assert found("disabled=0") == found("enabled&disabled") == {off.pk}
    assert found("enabled=") == {pinned.pk, on.pk}


def test_one_alias_is_read_and_changed(alice: User, api: Api) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    primary = EmailAddress.objects.get(user=alice, primary=True)
    alias = issue(owner=alice, note="old")
    client, path = api(alice), f"/api/aliases/{alias.pk}"

    assert client.get(path).json()["note"] == "old"
    change = {
        "note": "new",
        "name": "A\r\nB",
        "pinned": True,
        "mailbox_ids": [home.pk, primary.pk],
        "disable_pgp": True,
    }
    assert client.put(path, change, format="json").json() == {"ok": True}

    row = client.get(path).json()
    assert (row["note"], row["name"], row["pinned"]) == ("new", "A B", True)
    assert [box["id"] for box in row["mailboxes"]] == [home.pk, primary.pk]
    assert client.patch(path, {"mailbox_id": primary.pk}, format="json").json() == {"ok": True}
    assert client.patch(path, {"note": None, "enabled": False}, format="json").json() == {"ok": True}
    row = client.get(path).json()
    assert row["mailbox"] == {"id": primary.pk, "email": "alice@example.com"}
    # `enabled` is not changed here: that is what toggle is for.
    assert (row["note"], row["name"], row["enabled"]) == (None, "A B", True)


def test_a_mailbox_named_twice_is_one(alice: User, api: Api) -> None:
    primary = EmailAddress.objects.get(user=alice)
    alias = issue(owner=alice)
    client, path = api(alice), f"/api/aliases/{alias.pk}"

    assert client.put(path, {"mailbox_ids": [primary.pk] * 3}, format="json").json() == {"ok": True}

    assert client.get(path).json()["mailboxes"] == [{"id": primary.pk, "email": "alice@example.com"}]


def test_a_refused_change_changes_nothing(alice: User, api: Api) -> None:
    alias = issue(owner=alice, note="old")
    client = api(alice)

    answer = client.put(f"/api/aliases/{alias.pk}", {"note": "new", "mailbox_ids": [999]}, format="json")

    alias.refresh_from_db()
    assert answer.status_code == 400
    assert alias.note == "old"


def test_an_alias_is_switched_and_deleted(alice: User, api: Api) -> None:
    alias = issue(owner=alice)
    client, path = api(alice), f"/api/aliases/{alias.pk}"

    assert client.post(f"{path}/toggle").json() == {"enabled": False}
    assert client.post(f"{path}/toggle").json() == {"enabled": True}
    assert client.delete(path).json() == {"deleted": True}
    assert client.delete(path).status_code == 404

    alias.refresh_from_db()
    assert alias.is_deleted
    assert alias.owner == alice


def test_the_figures_are_added_up(alice: User, root: User, api: Api) -> None:
    for _ in range(2):
        alias = issue(owner=alice)
        Alias.objects.filter(pk=alias.pk).update(forwards=5, blocks=2, replies=1)
    issue(owner=root, domain="example.com")
    issue(owner=alice).soft_delete()

    assert api(alice).get("/api/stats").json() == {
        "nb_alias": 2,
        "nb_forward": 10,
        "nb_reply": 2,
        "nb_block": 4,
    }
    Alias.objects.all().strip()
    assert api(alice).get("/api/stats").json() == {
        "nb_alias": 0,
        "nb_forward": 0,
        "nb_reply": 0,
        "nb_block": 0,
    }


@pytest.mark.parametrize("flag", ["", "&enabled="])
def test_a_list_has_each_alias_once_whatever_mail_and_destinations_it_has(
    alice: User, api: Api, flag: str
) -> None:
    EmailAddress.objects.create(user=alice, email="a@elsewhere.test", verified=True)
    destinations = ["a@elsewhere.test", alice.email]
    made = [issue(owner=alice, destinations=destinations) for _number in range(22)]
    bare = issue(owner=alice)
    bare.destination_links.all().delete()
    now = timezone.now()
    for minutes in (3, 1, 2):
        moment = now - timedelta(minutes=minutes)
        Activity.objects.create(alias=made[0], event="forward", sender=f"{minutes}@shop.test", moment=moment)
    client = api(alice)

    pages = [client.get(f"/api/v2/aliases?page_id={page}{flag}").json()["aliases"] for page in range(3)]
    addy = [
        client.get(f"/api/v1/aliases?page[size]=20&page[number]={page}&sort={'' if flag else '-created_at'}")
        for page in (1, 2)
    ]

    assert [len(page) for page in pages] == [20, 3, 0]
    rows = [row for page in pages for row in page]
    assert [row["id"] for row in rows] == [bare.pk, *(alias.pk for alias in reversed(made))]
    assert [[box["email"] for box in row["mailboxes"]] for row in rows] == [[], *[destinations] * 22]
    assert rows[0]["mailbox"] is None
    assert rows[-1]["latest_activity"]["contact"]["email"] == "1@shop.test"
    assert [row["latest_activity"] for row in rows[:-1]] == [None] * 22
    found = [row for page in addy for row in page.json()["data"]]
    assert [row["email"] for row in found] == [row["email"] for row in rows]
    assert [[to["email"] for to in row["recipients"]] for row in found] == [[], *[destinations] * 22]


def test_activities_tell_what_happened_the_latest_first(alice: User, api: Api) -> None:
    alias, other = issue(owner=alice), issue(owner=alice)
    now = timezone.now()
    for number in range(25):
        Activity.objects.create(
            alias=alias, event="forward", sender=f"{number}@shop.test", moment=now - timedelta(minutes=number)
        )
    Activity.objects.create(alias=alias, event="bounce", moment=now - timedelta(hours=1))
    Activity.objects.create(alias=other, event="block", sender="eve@evil.test", moment=now)
    client = api(alice)

    pages = [
        client.get(f"/api/aliases/{alias.pk}/activities?page_id={page}").json()["activities"]
        for page in range(3)
    ]
    listed = {row["id"]: row["latest_activity"] for row in client.get(LIST).json()["aliases"]}

    assert [len(page) for page in pages] == [20, 6, 0]
    assert pages[0][0] == {
        "timestamp": int(now.timestamp()),
        "action": "forward",
        "from": "0@shop.test",
        "to": alias.address,
        "reverse_alias": "",
        "reverse_alias_address": "",
    }
    assert (pages[1][-1]["action"], pages[1][-1]["from"]) == ("bounced", "")
    contact = {"email": "eve@evil.test", "name": None, "reverse_alias": ""}
    assert listed[other.pk] == {"timestamp": int(now.timestamp()), "action": "block", "contact": contact}
    assert listed[alias.pk]["contact"]["email"] == "0@shop.test"
    assert client.get(f"/api/aliases/{other.pk}").json()["latest_activity"] == listed[other.pk]
    assert client.get(f"/api/aliases/{alias.pk}/activities").status_code == 400
