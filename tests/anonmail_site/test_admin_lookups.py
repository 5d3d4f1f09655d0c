"""What the admin's query strings may ask: nothing about secrets."""

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from accounts.models import User
from core.admin import QuickAdmin
from tokens.models import Token

pytestmark = pytest.mark.django_db

REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)


def paths(model: type[Model], depth: int = 2) -> list[tuple[str, str]]:
    """Every column that a lookup can reach from `model`, over relations in both directions."""
    found = []
    for field in model._meta.get_fields():
        found.append((field.name, field.name))
        if depth and isinstance(field.related_model, type):
            found += [(f"{field.name}__{path}", last) for path, last in paths(field.related_model, depth - 1)]
    return found


@pytest.mark.parametrize(
    ("page", "lookup"),
    [
        ("accounts_user", "password__startswith"),
        ("accounts_user", "tokens__digest__startswith"),
        ("accounts_user", "authenticator__data__contains"),
        ("accounts_user", "usersession__session_key__startswith"),
        ("accounts_user", "emailaddress__emailconfirmation__key__startswith"),
        ("tokens_token", "digest__startswith"),
        ("tokens_token", "owner__password__startswith"),
        ("aliases_alias", "owner__password__startswith"),
        ("aliases_alias", "owner__tokens__digest__regex"),
        ("domains_accessgrant", "user__password__startswith"),
        ("domains_domain", "managers__password__startswith"),
        ("core_auditentry", "actor__password__startswith"),
    ],
)
def test_nobody_asks_the_admin_for_a_secret_letter_by_letter(
    boss: Client, alice: User, page: str, lookup: str
) -> None:
    Token.objects.issue(owner=alice, name="phone")

    answer = boss.get(reverse(f"admin:{page}_changelist"), {lookup: "a"})

    assert answer.status_code == 400


@pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
def test_no_admin_page_takes_a_lookup_on_anything_that_is_not_listed(model: type[Model]) -> None:
    """Fields that are added later, too: what may be asked is listed, not what may not."""
    page = admin.site._registry[model]
    assert isinstance(page, QuickAdmin)

    for path, column in paths(model):
        if column in {"password", "digest", "data", "session_key", "key", "networks"}:
            for ending in ("", "__startswith", "__regex", "__gt", "__isnull"):
                assert not page.lookup_allowed(path + ending, "x"), path + ending


def test_filters_that_are_shown_still_filter(boss: Client, alice: User) -> None:
    users, grants = (reverse(f"admin:{page}_changelist") for page in ("accounts_user", "domains_accessgrant"))

    assert boss.get(users, {"is_active__exact": "1"}).status_code == 200
    assert boss.get(users, {"is_superuser__exact": "1"}).context["cl"].result_count == 1
    assert (
        boss.get(reverse("admin:domains_accessgrant_changelist"), {"domain__id__exact": 1}).status_code == 200
    )


def test_the_admins_own_password_is_changed_on_the_one_page_for_that(boss: Client, root: User) -> None:
    """It asks for the old one a few times only, and tells the owner by mail."""
    url = reverse("admin:password_change")

    asked = boss.get(url)
    sent = boss.post(
        url, {"old_password": "root-password-1", "new_password1": "x" * 20, "new_password2": "x" * 20}
    )

    assert asked["Location"] == sent["Location"] == reverse("account_change_password")
    root.refresh_from_db()
    assert root.check_password("root-password-1")
    assert boss.get(reverse("admin:password_change_done")).status_code == 302


def test_no_admin_page_sets_somebody_elses_password(boss: Client, alice: User) -> None:
    chosen = {"password": "x" * 20, "password1": "x" * 20, "password2": "x" * 20}
    change = reverse("admin:accounts_user_change", args=[alice.pk])

    for url in (f"/admin/accounts/user/{alice.pk}/password/", f"{change}password/"):
        boss.post(url, chosen, follow=True)

    alice.refresh_from_db()
    assert alice.check_password("alice-password-1")
