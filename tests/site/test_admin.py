"""Django admin: everything in sight, no rule to break, no secret to see, quick with many rows."""

from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib import admin
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.models import User
from aliases.models import Alias
from domains.models import AccessGrant, Domain
from tokens.models import Token

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss(root: User, client: Client) -> Client:
    """A browser in which the global admin is signed in."""
    client.force_login(root)
    return client


def act(client: Client, model: str, action: str, *keys: int, **more: str) -> Any:
    """Choose rows in a list and run an action on them, as the page does."""
    data = {"action": action, "_selected_action": [str(key) for key in keys], **more}
    return client.post(reverse(f"admin:{model}_changelist"), data, follow=True)


def admin_pages(user: User, alias: Alias, token: Token, grant: AccessGrant) -> list[str]:
    rows = {User: user, Alias: alias, Token: token, AccessGrant: grant, Domain: alias.domain}
    pages = [reverse("admin:index")]
    for model, model_admin in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages.append(reverse(f"{name}_changelist"))
        pages.append(reverse(f"{name}_change", args=[rows[model].pk]))
        if model_admin.__class__.__name__ != "TokenAdmin":
            pages.append(reverse(f"{name}_add"))
    return pages


def test_every_page_answers_the_admin_and_nobody_else_and_shows_no_secret(
    boss: Client, alice: User, root: User, other_org: Domain
) -> None:
    alias = Alias.objects.issue(owner=alice, hostname="github.com")
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

    assert registered == {"User", "Domain", "AccessGrant", "Alias", "Token"}


# --- users ---------------------------------------------------------------------------------------


def test_a_new_user_has_a_verified_address_and_gets_a_link(boss: Client) -> None:
    answer = boss.post(
        reverse("admin:accounts_user_add"), {"email": "Bob@Bücher.Example", "name": "Bob"}, follow=True
    )

    bob = User.objects.get(email="bob@xn--bcher-kva.example")
    assert answer.status_code == 200
    assert EmailAddress.objects.get(user=bob, verified=True, primary=True).email == bob.email
    assert not bob.has_usable_password()
    assert mail.outbox[0].to == [bob.email]
    assert "/accounts/password/reset/key/" in mail.outbox[0].body


def test_the_user_stays_when_the_mail_cannot_be_sent(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("accounts.links.send_mail", fail)

    answer = boss.post(reverse("admin:accounts_user_add"), {"email": "bob@example.com"}, follow=True)

    assert User.objects.filter(email="bob@example.com").exists()
    assert "could not be sent" in answer.content.decode()


@pytest.mark.parametrize(
    ("email", "sentence"),
    [
        ("nonsense", "valid e"),
        ("ALICE@example.com", "There is a user with this address already."),
        ("alias+tag@example.com", "This address cannot be used here."),
    ],
)
def test_an_address_that_cannot_be_is_refused_beside_its_field(
    boss: Client, alice: User, email: str, sentence: str
) -> None:
    Alias.objects.filter(pk=Alias.objects.issue(owner=alice).pk).update(address="alias@example.com")

    answer = boss.post(reverse("admin:accounts_user_add"), {"email": email, "name": ""})

    assert sentence in answer.content.decode()
    assert User.objects.count() == 2


def test_deactivating_ends_sessions_and_tokens_at_once_and_for_good(
    boss: Client, alice: User, api: Callable[[User], APIClient]
) -> None:
    browser, key, alias = Client(), api(alice), Alias.objects.issue(owner=alice)
    browser.force_login(alice)
    assert browser.get("/aliases/").status_code == 200

    act(boss, "accounts_user", "deactivate", alice.pk)

    assert browser.get("/aliases/").status_code == 302
    assert key.get("/api/user_info").status_code == 401
    assert not Alias.objects.receiving().exists()

    act(boss, "accounts_user", "activate", alice.pk)

    assert browser.get("/aliases/").status_code == 302
    assert key.get("/api/user_info").status_code == 401
    assert list(Alias.objects.receiving()) == [alias]


def test_the_checkbox_in_the_form_deactivates_as_the_action_does(
    boss: Client, alice: User, api: Callable[[User], APIClient]
) -> None:
    key = api(alice)
    url = reverse("admin:accounts_user_change", args=[alice.pk])
    inline = {"emailaddress_set-TOTAL_FORMS": "0", "emailaddress_set-INITIAL_FORMS": "0"}

    boss.post(url, {"name": "Alice", **inline})
    alice.refresh_from_db()
    assert not alice.is_active
    boss.post(url, {"name": "Alice", "is_active": "on", **inline})

    alice.refresh_from_db()
    assert alice.is_active
    assert key.get("/api/user_info").status_code == 401


def test_an_admin_cannot_shut_out_the_own_account(boss: Client, root: User) -> None:
    said = act(boss, "accounts_user", "deactivate", root.pk).content.decode()
    act(boss, "accounts_user", "delete_accounts", root.pk, confirmed="yes")
    boss.post(reverse("admin:accounts_user_change", args=[root.pk]), {"name": "Root"})

    root.refresh_from_db()
    assert "Ask another global admin." in said
    assert root.is_active
    assert root.is_superuser


def test_an_account_is_deleted_after_a_question_and_its_addresses_stay_taken(
    boss: Client, alice: User
) -> None:
    alias = Alias.objects.issue(owner=alice, note="secret")

    asked = act(boss, "accounts_user", "delete_accounts", alice.pk)
    assert "cannot be undone" in asked.content.decode()
    assert User.objects.filter(pk=alice.pk).exists()
    act(boss, "accounts_user", "delete_accounts", alice.pk, confirmed="yes")

    assert not User.objects.filter(pk=alice.pk).exists()
    left = Alias.objects.get()
    assert (left.address, left.owner, left.note) == (alias.address, None, "")


def test_crafted_fields_change_nothing(boss: Client, alice: User) -> None:
    before = User.objects.values().get(pk=alice.pk)
    inline = {
        "emailaddress_set-TOTAL_FORMS": "1",
        "emailaddress_set-INITIAL_FORMS": "0",
        "emailaddress_set-0-email": "evil@evil.test",
        "emailaddress_set-0-verified": "on",
    }

    boss.post(
        reverse("admin:accounts_user_change", args=[alice.pk]),
        {"name": "", "is_active": "on", "email": "evil@evil.test", "password": "x", **inline},
    )

    assert User.objects.values().get(pk=alice.pk) == before
    assert not EmailAddress.objects.filter(email="evil@evil.test").exists()


# --- domains -------------------------------------------------------------------------------------


def domain_form(**fields: str) -> dict[str, str]:
    kept = {"audience": "own", "minimum_style": "words"}
    return {**kept, "grants-TOTAL_FORMS": "0", "grants-INITIAL_FORMS": "0", **fields}


def test_the_toggle_is_in_the_list(boss: Client, example_com: Domain) -> None:
    data = {
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": str(example_com.pk),
        "_save": "Save",
    }

    boss.post(reverse("admin:domains_domain_changelist"), data)

    example_com.refresh_from_db()
    assert not example_com.anonmail_enabled


def test_a_grant_in_the_domains_form_keeps_who_gave_it(
    boss: Client, root: User, mallory: User, other_org: Domain
) -> None:
    data = domain_form(name="other.org", anonmail_enabled="on") | {
        "grants-TOTAL_FORMS": "1",
        "grants-0-domain": str(other_org.pk),
        "grants-0-user": str(mallory.pk),
    }

    boss.post(reverse("admin:domains_domain_change", args=[other_org.pk]), data)

    grant = AccessGrant.objects.get()
    assert (grant.user, grant.granted_by) == (mallory, root)

    data |= {"grants-INITIAL_FORMS": "1", "grants-0-id": str(grant.pk), "grants-0-DELETE": "on"}
    boss.post(reverse("admin:domains_domain_change", args=[other_org.pk]), data)

    assert not AccessGrant.objects.exists()


def test_a_grant_is_given_and_taken_in_its_own_list(
    boss: Client, root: User, mallory: User, other_org: Domain
) -> None:
    data = {"domain": str(other_org.pk), "user": str(mallory.pk)}
    boss.post(reverse("admin:domains_accessgrant_add"), data)
    again = boss.post(reverse("admin:domains_accessgrant_add"), data)

    grant = AccessGrant.objects.get()
    assert grant.granted_by == root
    assert "already" in again.content.decode()

    boss.post(reverse("admin:domains_accessgrant_delete", args=[grant.pk]), {"post": "yes"})
    assert not AccessGrant.objects.exists()


def test_a_domain_with_aliases_keeps_its_name_and_stays(
    boss: Client, alice: User, example_com: Domain
) -> None:
    Alias.objects.issue(owner=alice)

    boss.post(
        reverse("admin:domains_domain_change", args=[example_com.pk]),
        domain_form(name="evil.test", comment="c"),
    )
    gone = boss.post(reverse("admin:domains_domain_delete", args=[example_com.pk]), {"post": "yes"})

    example_com.refresh_from_db()
    assert (example_com.name, example_com.comment) == ("example.com", "c")
    assert gone.status_code == 403


def test_a_domain_without_aliases_may_go(boss: Client, other_org: Domain) -> None:
    boss.post(reverse("admin:domains_domain_delete", args=[other_org.pk]), {"post": "yes"})

    assert not Domain.objects.filter(pk=other_org.pk).exists()


def test_a_domains_name_is_taken_in_any_form(boss: Client) -> None:
    boss.post(reverse("admin:domains_domain_add"), domain_form(name="BÜCHER.example"))
    again = boss.post(reverse("admin:domains_domain_add"), domain_form(name="xn--bcher-kva.example"))

    assert [domain.name for domain in Domain.objects.all()] == ["xn--bcher-kva.example"]
    assert "This domain is there already." in again.content.decode()
    assert "bücher.example" in boss.get(reverse("admin:domains_domain_changelist")).content.decode()


# --- aliases -------------------------------------------------------------------------------------


def test_each_action_does_what_its_verb_does(boss: Client, alice: User) -> None:
    alias = Alias.objects.issue(owner=alice)

    for action, expected in [
        ("disable", (False, False)),
        ("enable", (True, False)),
        ("delete_aliases", (True, True)),
        ("restore", (True, False)),
    ]:
        act(boss, "aliases_alias", action, alias.pk)
        alias.refresh_from_db()
        assert (alias.enabled, alias.is_deleted) == expected, action


def test_a_stripped_alias_is_left_alone_with_a_sentence(boss: Client, alice: User) -> None:
    alias = Alias.objects.issue(owner=alice)
    Alias.objects.all().strip()
    before = Alias.objects.values().get()

    for action in ("enable", "disable", "delete_aliases", "restore"):
        assert "nobody&#x27;s any more" in act(boss, "aliases_alias", action, alias.pk).content.decode()

    assert Alias.objects.values().get() == before


def test_an_alias_is_made_for_somebody_under_the_owners_rules(
    boss: Client, alice: User, mallory: User, other_org: Domain
) -> None:
    url = reverse("admin:aliases_alias_add")

    boss.post(url, {"owner": str(alice.pk), "domain": "", "hostname": "https://github.com/x?y", "note": ""})
    refused = boss.post(
        url, {"owner": str(mallory.pk), "domain": str(other_org.pk), "hostname": "", "note": ""}
    )

    alias = Alias.objects.get()
    assert (alias.owner, alias.hostname, alias.domain.name) == (alice, "github.com", "example.com")
    assert "You have no access to this domain." in refused.content.decode()


def test_the_form_edits_what_may_be_edited_and_nothing_else(boss: Client, alice: User, mallory: User) -> None:
    alias = Alias.objects.issue(owner=alice)
    crafted = {
        "owner": str(mallory.pk),
        "address": "evil@example.com",
        "domain": "99",
        "forwards": "7",
        "deleted_at": "2020-01-01",
    }

    boss.post(
        reverse("admin:aliases_alias_change", args=[alias.pk]),
        {"note": "n", "name": "a\nb", "hostname": "https://u:p@x.test/y", "pinned": "on", **crafted},
    )
    too_long = boss.post(
        reverse("admin:aliases_alias_change", args=[alias.pk]),
        {"note": "x" * 10_001, "name": "", "hostname": ""},
    )

    changed = Alias.objects.get()
    assert (changed.note, changed.name, changed.hostname, changed.pinned) == ("n", "a b", "x.test", True)
    assert (changed.owner, changed.address, changed.forwards, changed.deleted_at) == (
        alice,
        alias.address,
        0,
        None,
    )
    assert "at most 10,000 characters" in too_long.content.decode()


def test_the_list_is_searched_by_address_owner_and_host(boss: Client, alice: User, root: User) -> None:
    mine = Alias.objects.issue(owner=alice, hostname="github.com")
    other = Alias.objects.issue(owner=root, hostname="gitlab.com", domain="example.com")

    def found(term: str) -> set[str]:
        answer = boss.get(reverse("admin:aliases_alias_changelist"), {"q": term})
        return {alias.address for alias in answer.context["cl"].result_list}

    assert found("github.") == {mine.address}
    assert found(mine.address.upper()) == {mine.address}
    assert found("ALICE@example.com") == {mine.address}
    assert found("gitlab.com") == {other.address}
    assert found("git") == {mine.address, other.address}
    assert found("%") == found("_") == set()


def test_the_states_are_filtered(boss: Client, alice: User) -> None:
    rows = {name: Alias.objects.issue(owner=alice) for name in ("enabled", "disabled", "deleted", "stripped")}
    rows["disabled"].disable()
    rows["deleted"].soft_delete()
    Alias.objects.filter(pk=rows["stripped"].pk).strip()

    for state, alias in rows.items():
        answer = boss.get(reverse("admin:aliases_alias_changelist"), {"state": state})
        assert [row.pk for row in answer.context["cl"].result_list] == [alias.pk], state


def test_the_list_takes_as_many_statements_for_fifty_aliases_as_for_five(boss: Client, alice: User) -> None:
    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert boss.get(reverse("admin:aliases_alias_changelist")).status_code == 200
        return len(queries)

    for _ in range(5):
        Alias.objects.issue(owner=alice)
    few = statements()
    for _ in range(45):
        Alias.objects.issue(owner=alice)

    assert statements() == few


def test_the_search_by_address_uses_the_unique_index(alice: User) -> None:
    plan = Alias.objects.filter(address__prefix="github.").order_by("-pk").explain()

    if connection.vendor == "sqlite":
        assert "USING INDEX" in plan
        assert "address>?" in plan
    else:
        # A planner with three rows reads them all: ask what it could do.
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        plan = Alias.objects.filter(address__prefix="github.").explain()
        assert "address_" in plan
        assert "_like" in plan


# --- tokens --------------------------------------------------------------------------------------


def test_a_token_is_revoked_and_cannot_be_made_or_changed(boss: Client, alice: User) -> None:
    one, _secret = Token.objects.issue(owner=alice, name="one")
    two, _secret = Token.objects.issue(owner=alice, name="two")

    assert boss.get(reverse("admin:tokens_token_add")).status_code == 403
    assert boss.post(reverse("admin:tokens_token_change", args=[one.pk]), {"name": "x"}).status_code == 403
    act(boss, "tokens_token", "revoke", one.pk)
    boss.post(reverse("admin:tokens_token_delete", args=[two.pk]), {"post": "yes"})

    assert not Token.objects.exists()


def test_authenticators_are_out_of_reach(boss: Client) -> None:
    assert Authenticator not in admin.site._registry
    assert boss.get("/admin/mfa/authenticator/").status_code == 404
