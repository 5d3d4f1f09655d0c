"""Django admin as a whole: everything in sight of a global admin, of nobody else, and no secret."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, NameSpace
from aliases.spaces import give
from contacts.book import add_contact
from contacts.models import Contact
from core.audit import AuditEntry
from domains.models import AccessGrant, Domain
from hooks.messages import write_test
from hooks.models import Hook, HookMessage
from mail.models import DestinationKey, FailedDelivery, SiteFault
from rules.models import Rule
from tests.rig.ruling import rule as make_a_rule
from tokens.models import Token

pytestmark = pytest.mark.django_db

READ_ONLY = {
    "TokenAdmin",
    "AuditAdmin",
    "SiteFaultAdmin",
    "FailedDeliveryAdmin",
    "ContactAdmin",
    "HookMessageAdmin",
    "DestinationKeyAdmin",
    "RuleAdmin",
}


def admin_pages(user: User, alias: Alias, token: Token, grant: AccessGrant) -> list[str]:
    entry = AuditEntry.objects.record(None, "alias.disable", alias)
    rows: dict[Any, Any] = {User: user, Alias: alias, Token: token, AccessGrant: grant, Domain: alias.domain}
    rows[AuditEntry] = entry
    rows[Contact] = add_contact(alias, "jane@shop.test")[0]
    rows[FailedDelivery] = FailedDelivery.objects.create(alias=alias, event="bounce", status="5.1.1")
    rows[Hook], _secret = Hook.objects.make(owner=None, url="https://hooks.test/x", events=["alias.created"])
    rows[HookMessage] = write_test(rows[Hook])
    rows[NameSpace] = give(domain=grant.domain, owner=user)
    rows[SiteFault] = SiteFault.objects.create(what="next hop: RCPT 530")
    rows[DestinationKey] = DestinationKey.objects.create(
        destination=EmailAddress.objects.get(user=user, primary=True), fingerprint="0" * 40, certificate=b""
    )
    rows[Rule] = make_a_rule(user, blocks=True)
    pages = [reverse("admin:index")]
    for model, model_admin in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages.append(reverse(f"{name}_changelist"))
        pages.append(reverse(f"{name}_change", args=[rows[model].pk]))
        if model_admin.__class__.__name__ not in READ_ONLY:
            pages.append(reverse(f"{name}_add"))
    return pages


def test_every_page_answers_the_admin_and_nobody_else_and_shows_no_secret(
    boss: Client, alice: User, root: User, other_org: Domain
) -> None:
    alias = issue(owner=alice, hostname="github.com")
    token, _secret = Token.objects.issue(owner=alice, name="phone")
    grant = other_org.grant(alice, granted_by=root)
    pages = admin_pages(alice, alias, token, grant)
    stranger = Client()
    stranger.force_login(alice)

    assert len(pages) >= 14
    for page in pages:
        answer = boss.get(page)
        assert answer.status_code == 200, page
        text = answer.content.decode()
        assert token.digest not in text
        assert alice.password not in text
        assert stranger.get(page, follow=True).status_code == 403, page
        nobody = Client().get(page, follow=True)
        assert nobody.redirect_chain[-1][0].startswith("/accounts/login/?next=")


def test_a_second_factor_guards_the_admin(root: User, client: Client) -> None:
    TOTP.activate(root, generate_totp_secret())

    answer = client.post(
        "/accounts/login/?next=/admin/", {"login": root.email, "password": "root-password-1"}, follow=True
    )

    assert answer.redirect_chain[-1][0].startswith("/accounts/2fa/authenticate/")
    assert client.get("/admin/").status_code == 302


def test_no_form_of_another_package_is_left_that_shows_secrets_or_breaks_rules() -> None:
    registered = {model.__name__ for model in admin.site._registry}

    assert registered == {
        "User",
        "Domain",
        "AccessGrant",
        "Alias",
        "Contact",
        "Token",
        "AuditEntry",
        "SiteFault",
        "FailedDelivery",
        "Hook",
        "HookMessage",
        "DestinationKey",
        "Rule",
        "NameSpace",
    }


def test_authenticators_are_out_of_reach(boss: Client) -> None:
    assert Authenticator not in admin.site._registry
    assert boss.get("/admin/mfa/authenticator/").status_code == 404
