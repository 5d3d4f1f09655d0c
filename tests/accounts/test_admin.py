"""Users in Django admin: made with a link, switched by the verbs, never without an admin."""

import pytest
from allauth.account.models import EmailAddress
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import admin as accounts_admin
from accounts.models import Identity, LastAdmin, User
from aliases.issuing import issue
from aliases.models import Alias
from tests.conftest import Api
from tests.rig.admin import INLINES, act

pytestmark = pytest.mark.django_db


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

    monkeypatch.setattr("core.mails.send_mail", fail)

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
    Alias.objects.filter(pk=issue(owner=alice).pk).update(address="alias@example.com")

    answer = boss.post(reverse("admin:accounts_user_add"), {"email": email, "name": ""})

    assert sentence in answer.content.decode()
    assert User.objects.count() == 2


def test_deactivating_ends_sessions_and_tokens_at_once_and_for_good(
    boss: Client, alice: User, api: Api
) -> None:
    browser, key, alias = Client(), api(alice), issue(owner=alice)
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


def test_the_checkbox_in_the_form_deactivates_as_the_action_does(boss: Client, alice: User, api: Api) -> None:
    key = api(alice)
    url = reverse("admin:accounts_user_change", args=[alice.pk])

    boss.post(url, {"name": "Alice", **INLINES})
    alice.refresh_from_db()
    assert not alice.is_active
    boss.post(url, {"name": "Alice", "is_active": "on", **INLINES})

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
    alias = issue(owner=alice, note="secret")

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
        "identities-TOTAL_FORMS": "1",
        "identities-INITIAL_FORMS": "0",
        "identities-0-issuer": "https://evil.test",
        "identities-0-subject": "evil",
    }

    boss.post(
        reverse("admin:accounts_user_change", args=[alice.pk]),
        {"name": "", "is_active": "on", "email": "evil@evil.test", "password": "x", **inline},
    )

    assert User.objects.values().get(pk=alice.pk) == before
    assert not EmailAddress.objects.filter(email="evil@evil.test").exists()
    assert not Identity.objects.exists()


def test_the_form_for_a_new_user_makes_no_admin(boss: Client) -> None:
    boss.post(
        reverse("admin:accounts_user_add"),
        {"email": "bob@example.com", "name": "", "is_superuser": "on", "is_active": "", "password": "x"},
    )

    bob = User.objects.get(email="bob@example.com")
    assert (bob.is_superuser, bob.is_active, bob.has_usable_password()) == (False, True, False)


def test_the_link_is_sent_again(boss: Client, alice: User) -> None:
    said = act(boss, "accounts_user", "send_link", alice.pk)

    assert [message.to for message in mail.outbox] == [[alice.email]]
    assert "has been sent" in said.content.decode()


def test_somebody_else_is_made_a_global_admin_and_no_longer_one(boss: Client, alice: User) -> None:
    url = reverse("admin:accounts_user_change", args=[alice.pk])

    boss.post(url, {"name": "", "is_active": "on", "is_superuser": "on", **INLINES})
    alice.refresh_from_db()
    assert alice.is_superuser
    boss.post(url, {"name": "", "is_active": "on", **INLINES})

    alice.refresh_from_db()
    assert not alice.is_superuser


@pytest.mark.parametrize("kept", [{"is_superuser": "on"}, {"is_active": "on"}, {}])
def test_the_last_active_global_admin_stays(root: User, alice: User, kept: dict[str, str]) -> None:
    User.objects.create_superuser("gone@admin.test", is_active=False)

    form = accounts_admin.UserForm({"name": "", **kept}, instance=root)

    assert "This is the last global admin." in str(form.non_field_errors())


def test_one_of_two_global_admins_may_go(root: User) -> None:
    other = User.objects.create_superuser("other@admin.test")

    root.check_may_leave()
    other.deactivate()

    with pytest.raises(LastAdmin):
        root.check_may_leave()


def test_what_the_form_does_not_show_is_not_written(boss: Client, alice: User) -> None:
    """A password that changes while the form is open stays changed."""
    url = reverse("admin:accounts_user_change", args=[alice.pk])

    with CaptureQueriesContext(connection) as queries:
        boss.post(url, {"name": "Alice", "is_active": "on", **INLINES})

    (update,) = [q["sql"] for q in queries if q["sql"].startswith('UPDATE "accounts_user"')]
    assert '"name" = ' in update
    assert '"password"' not in update


def test_people_are_found_in_any_case(boss: Client, alice: User, root: User) -> None:
    answer = boss.get(reverse("admin:accounts_user_changelist"), {"q": "ALICE@"})

    assert list(answer.context["cl"].result_list) == [alice]


def test_a_deleted_account_leaves_no_trace_in_the_admins_log(boss: Client, alice: User) -> None:
    url = reverse("admin:accounts_user_change", args=[alice.pk])
    boss.post(url, {"name": "Alice", "is_active": "on", **INLINES})
    assert LogEntry.objects.filter(object_repr=alice.email).exists()

    act(boss, "accounts_user", "delete_accounts", alice.pk, confirmed="yes")

    assert not LogEntry.objects.filter(object_repr=alice.email).exists()


def test_too_many_accounts_are_not_deleted_at_once(
    boss: Client, alice: User, mallory: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.admin.ACCOUNTS_MAX", 1)

    said = act(boss, "accounts_user", "delete_accounts", alice.pk, mallory.pk, confirmed="yes")

    assert "At most 1 accounts" in said.content.decode()
    assert User.objects.count() == 3
