"""Who gets what at every URL of ours. A URL without a row here fails."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import Identity, User
from aliases.issuing import issue
from aliases.models import Alias, NameSpace, SenderDomain
from aliases.spaces import give
from contacts.book import add_contact
from contacts.models import Contact
from domains.dkim_keys import make_keys
from domains.models import AccessGrant, DkimKey, Domain
from hooks.messages import write_test
from hooks.models import Hook, HookMessage
from mail.models import Activity, DestinationKey, ReturnedMessage
from rules.models import Rule
from tests.rig.ruling import rule as make_a_rule
from tokens.models import Token

pytestmark = pytest.mark.django_db

# For each URL name: what the owner, a stranger and a global admin are answered to a GET, and whether a
# POST is understood at all (405 where not). Nobody who is signed out gets anything but the way to the
# sign-in page.
OK, GONE, NO, AWAY = 200, 404, 405, 302
# Where a signed-out reader may be sent: to the sign-in page, or to a page that sends there.
SIGNED_OUT = (
    "/accounts/login/?next=",
    "/accounts/signup/",
    "/addresses/",
    "/aliases/",
    "/tokens/",
    "/hooks/",
    "/rules/",
)
ROWS = {
    # name: (owner, stranger, admin, POST)
    "home": (AWAY, AWAY, AWAY, False),
    "alias-list": (OK, OK, OK, False),
    "alias-new": (OK, OK, OK, True),
    "alias-shape": (OK, OK, OK, False),
    "alias-quick": (NO, NO, NO, True),
    "alias-bulk": (NO, NO, NO, True),
    "alias-undo": (NO, NO, NO, True),
    "alias-deleted": (OK, OK, OK, False),
    "alias-import": (OK, OK, OK, True),
    "alias-import-check": (NO, NO, NO, True),
    "alias-import-make": (NO, NO, NO, True),
    "alias-import-leave-out": (NO, NO, NO, True),
    "alias-import-cancel": (NO, NO, NO, True),
    "alias": (OK, GONE, GONE, True),
    "alias-enable": (NO, NO, NO, True),
    "alias-note": (NO, NO, NO, True),
    "alias-disable": (NO, NO, NO, True),
    "alias-pin": (NO, NO, NO, True),
    "alias-unpin": (NO, NO, NO, True),
    "alias-delete": (NO, NO, NO, True),
    "alias-restore": (NO, NO, NO, True),
    "alias-remove": (OK, GONE, GONE, True),
    "contact-list": (OK, GONE, GONE, True),
    "contact": (OK, GONE, GONE, True),
    "contact-block": (NO, NO, NO, True),
    "contact-unblock": (NO, NO, NO, True),
    "contact-remove": (OK, GONE, GONE, True),
    "sender-answer": (NO, NO, NO, True),
    "account-replies": (OK, OK, OK, True),
    "failed-list": (OK, OK, OK, False),
    "failed-keep": (NO, NO, NO, True),
    "failed-download": (OK, GONE, GONE, False),
    "failed-delete": (NO, NO, NO, True),
    "address-list": (OK, OK, OK, True),
    "address-primary": (NO, NO, NO, True),
    "address-verify": (NO, NO, NO, True),
    "address-remove": (OK, GONE, GONE, True),
    "address-resume": (NO, NO, NO, True),
    "address-key": (OK, GONE, GONE, True),
    "address-key-lookup": (NO, NO, NO, True),
    "address-key-use": (NO, NO, NO, True),
    "address-key-remove": (OK, GONE, GONE, True),
    "account_email": (AWAY, AWAY, AWAY, True),
    "simplelogin-dashboard": (AWAY, AWAY, AWAY, True),
    "simplelogin-api-key": (AWAY, AWAY, AWAY, True),
    "simplelogin-onboarding": (AWAY, AWAY, AWAY, True),
    "simplelogin-register": (AWAY, AWAY, AWAY, True),
    "token-list": (OK, OK, OK, False),
    "token-new": (OK, OK, OK, True),
    "token-revoke": (OK, GONE, GONE, True),
    "rule-list": (OK, OK, OK, False),
    "rule-new": (OK, OK, OK, True),
    "rule-try": (OK, OK, OK, True),
    "rule": (OK, GONE, GONE, True),
    "rule-move": (NO, NO, NO, True),
    "rule-switch": (NO, NO, NO, True),
    "rule-remove": (OK, GONE, GONE, True),
    "hook-list": (OK, OK, OK, False),
    "hook-new": (OK, OK, OK, True),
    "hook": (OK, GONE, GONE, False),
    "hook-edit": (OK, GONE, GONE, True),
    "hook-test": (NO, NO, NO, True),
    "hook-secret": (OK, GONE, GONE, True),
    "hook-start": (NO, NO, NO, True),
    "hook-stop": (NO, NO, NO, True),
    "hook-remove": (OK, GONE, GONE, True),
    "hook-message-retry": (NO, NO, NO, True),
    "name-space-list": (OK, OK, OK, False),
    "name-space": (OK, GONE, GONE, True),
    "name-space-switch": (NO, NO, NO, True),
    "domain-spaces": (OK, GONE, OK, True),
    "domain-space-take": (OK, GONE, OK, True),
    "domain-list": (OK, GONE, OK, False),
    "domain-access": (OK, GONE, OK, True),
    "domain-revoke": (OK, GONE, OK, True),
    "domain-figures": (OK, GONE, OK, False),
    "domain-dns": (OK, GONE, OK, True),
    "domain-dkim-make": (NO, NO, NO, True),
    "domain-dkim-drop": (OK, GONE, OK, True),
    "figures": (OK, OK, OK, False),
    "account": (OK, OK, OK, True),
    "account-json": (OK, OK, OK, False),
    "account-csv": (OK, OK, OK, False),
    "account-delete": (OK, OK, OK, True),
    "connected-list": (OK, OK, OK, False),
    "connected-remove": (NO, NO, NO, True),
}
# Paths below these have tables of their own (tests/api, tests/anonmail_site/test_admin.py) or are another
# package's.
ELSEWHERE = ("api/", "admin/", "accounts/")
# Signed links, for people who are signed out: tests/mail.
# The links in mails about addresses, and the page for a first password: tests/accounts/test_takeover.py.
# The schema and the page that shows it are for everybody: tests/api/test_schema.py.
# What browsers ask for by themselves is too: test_manifest.py and test_icon.py beside this one.
# What monitors ask: test_health.py and test_metrics.py.
# So is the choice of a theme and a language: tests/accounts/test_appearance.py.
SIGNED = {"appearance", "manifest", "alias-unsubscribe", "api-docs", "api-schema", "icon", "metrics"}
SIGNED |= {"account_confirm_email", "account_set_password", "address-undo"}
# The sign-in pages that are not allauth's alone: tests/accounts/openid, test_local_passwords.py.
SIGNED |= {"account_login", "emergency", "mfa_login_webauthn", "account_signup", "account_change_password"}
SIGNED |= {"account_reset_password", "account_reset_password_from_key"}
SIGNED |= {f"organisation-{deed}" for deed in ("begin", "connect", "confirm", "back")}


def ours(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if not route.startswith(ELSEWHERE):
                yield from ours(pattern.url_patterns, route)
        else:
            yield route, pattern.name


@dataclass(frozen=True)
class Things:
    """One of everything, all alice's."""

    alias: Alias
    deleted: Alias
    address: EmailAddress
    token: Token
    failed: Activity
    contact: Contact
    sender: SenderDomain
    grant: AccessGrant
    key: DkimKey
    hook: Hook
    message: HookMessage
    identity: Identity
    rule: Rule
    space: NameSpace

    def url(self, name: str) -> str:
        if name.startswith("domain-") and name != "domain-list":
            last = {"domain-revoke": self.grant.pk, "domain-dkim-drop": self.key.pk}
            last["domain-space-take"] = self.space.pk
            return reverse(name, args=[self.grant.domain.name] + ([last[name]] if name in last else []))
        if name in {"alias-restore", "alias-remove"}:
            return reverse(name, args=[self.deleted.pk])
        if name == "alias" or name in {
            f"alias-{deed}" for deed in ("enable", "disable", "note", "pin", "unpin", "delete")
        }:
            return reverse(name, args=[self.alias.pk])
        if name.startswith("address-") and name != "address-list":
            return reverse(name, args=[self.address.pk])
        if name.startswith("contact"):
            return reverse(name, args=[self.alias.pk if name == "contact-list" else self.contact.pk])
        if name == "sender-answer":
            return reverse(name, args=[self.sender.pk])
        if name in {"failed-download", "failed-delete"}:
            return reverse(name, args=[self.failed.pk])
        if name in {"name-space", "name-space-switch"}:
            return reverse(name, args=[self.space.pk])
        if name == "hook-message-retry":
            return reverse(name, args=[self.message.pk])
        if name == "hook" or (name.startswith("hook-") and name not in {"hook-list", "hook-new"}):
            return reverse(name, args=[self.hook.pk])
        if name == "rule" or name in {"rule-move", "rule-switch", "rule-remove"}:
            return reverse(name, args=[self.rule.pk])
        if name == "connected-remove":
            return reverse(name, args=[self.identity.pk])
        if name == "token-revoke":
            return reverse(name, args=[self.token.pk])
        return reverse(name)


@pytest.fixture
def things(alice: User, mallory: User, root: User, example_com: Domain, other_org: Domain) -> Things:
    other_org.managers.add(alice)
    # Everybody may create somewhere.
    example_com.grant(mallory)
    deleted = issue(owner=alice)
    deleted.soft_delete()
    alias = issue(owner=alice)
    failed = Activity.objects.create(alias=alias, event="bounce", status="5.1.1")
    ReturnedMessage.keep(failed, b"Subject: x")
    hook, _secret = Hook.objects.make(owner=alice, url="https://hooks.test/x", events=["alias.created"])
    address = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    DestinationKey.objects.create(destination=address, fingerprint="0" * 40, certificate=b"")
    return Things(
        alias=alias,
        failed=failed,
        contact=add_contact(alias, "jane@shop.test")[0],
        sender=SenderDomain.objects.create(alias=alias, domain="stranger.biz"),
        deleted=deleted,
        address=address,
        token=Token.objects.issue(owner=alice, name="phone")[0],
        grant=other_org.grant(mallory, granted_by=alice),
        key=make_keys(other_org)[0],
        hook=hook,
        message=write_test(hook),
        space=give(domain=other_org, owner=alice),
        identity=Identity.objects.create(user=alice, issuer="https://id.test", subject="alice"),
        rule=make_a_rule(alice, blocks=True),
    )


def has_key(url: str) -> bool:
    return any(character.isdigit() for character in url)


def browser(user: User, password: str) -> Client:
    """Signed in a moment ago, with the password: no page asks for it again."""
    client = Client()
    answer = client.post("/accounts/login/", {"login": user.email, "password": password})
    assert answer.status_code == 302
    return client


def test_every_url_has_a_row() -> None:
    names = {name for _route, name in ours(get_resolver().url_patterns)}

    assert names - SIGNED | {"account_email"} == set(ROWS)


def test_every_url_answers_each_role_as_the_table_says(
    things: Things, alice: User, mallory: User, root: User
) -> None:
    people = [
        browser(alice, "alice-password-1"),
        browser(mallory, "mallory-password-1"),
        browser(root, "root-password-1"),
    ]
    wrong = []
    for name, (*expected, takes_post) in ROWS.items():
        url = things.url(name)
        answers = [person.get(url).status_code for person in people]
        if answers != expected:
            wrong.append((name, answers, expected))
        if not takes_post and people[0].post(url).status_code != NO:
            wrong.append((name, "POST"))

    assert wrong == []


def test_nobody_who_is_signed_out_gets_anything(things: Things) -> None:
    nobody = Client()
    for name in ROWS:
        for answer in (nobody.get(things.url(name)), nobody.post(things.url(name))):
            assert answer.status_code in {302, 405}, name
            if answer.status_code == 302:
                assert answer["Location"].startswith(SIGNED_OUT), name


def everything() -> list[list[Any]]:
    return [
        list(model.objects.values())
        for model in (Alias, EmailAddress, Token, Hook, HookMessage, Rule, NameSpace)
    ]


def test_a_stranger_who_posts_changes_nothing(things: Things, mallory: User) -> None:
    """Every URL that names a row of alice's is 404 to mallory, whatever the method."""
    stranger = browser(mallory, "mallory-password-1")
    named = [
        name for name, (*_answers, takes_post) in ROWS.items() if takes_post and has_key(things.url(name))
    ]
    before = everything()

    for name in [*named, "domain-access", "domain-dns", "domain-dkim-make", "domain-spaces"]:
        assert stranger.post(things.url(name)).status_code == 404, name
    stranger.post(reverse("alias-bulk"), {"action": "delete", "selected": [things.alias.pk]})
    stranger.post(reverse("alias-undo"), {"moment": things.deleted.deleted_at})

    assert len(named) >= 12
    assert everything() == before
    assert AccessGrant.objects.count() == DkimKey.objects.count() == 2


def test_every_form_needs_its_csrf_token(things: Things, alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    before = list(Alias.objects.values())

    for name, (*_expected, takes_post) in ROWS.items():
        if takes_post and name != "account_email" and not name.startswith("simplelogin-"):
            answer = client.post(things.url(name), {"confirm": alice.email})
            assert answer.status_code == 403, name
            assert "The form has expired." in answer.content.decode()

    assert list(Alias.objects.values()) == before


def test_a_key_too_large_for_the_database_is_not_found(things: Things, alice: User) -> None:
    client = browser(alice, "alice-password-1")

    for path in ("/aliases/%s/", "/tokens/%s/revoke/", "/addresses/%s/remove/"):
        for key in ("9" * 18, "9" * 19, "9" * 400, "0", "-1"):
            assert client.get(path % key).status_code == 404
