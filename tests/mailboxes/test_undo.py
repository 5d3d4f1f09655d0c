"""The address that was primary before hears of every change, and can undo it."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.signing import Signer
from django.test import Client
from django.utils import timezone

from accounts.models import AddressChange, Identity, User
from aliases.exceptions import AddressTaken
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias
from mailboxes.changing import make_primary as make_primary_verb
from mailboxes.undo import undo
from tests.aliases.test_races import all_at_once
from tests.conftest import Api
from tests.rig.takeover import (
    THIEF,
    is_in,
    link_to,
    mail_to,
    make_primary,
    press,
    sign_in,
    taken_over,
    undo_link,
)

pytestmark = pytest.mark.django_db


def test_each_change_is_told_to_the_address_that_was_primary_before(alice: User) -> None:
    thief = taken_over()
    thief.post(f"/addresses/{EmailAddress.objects.get(email='alice@example.com').pk}/remove/")

    told = [(message.to[0], message.subject) for message in mail.outbox if "/undo/" in str(message.body)]
    assert told == [
        ("alice@example.com", "An address was added to your Anonmail account"),
        ("alice@example.com", "An address of your Anonmail account was verified"),
        ("alice@example.com", "Your Anonmail account has a new primary address"),
        (THIEF, "An address was removed from your Anonmail account"),
        ("alice@example.com", "An address was removed from your Anonmail account"),
    ]


def test_the_link_gives_the_account_back(alice: User, api: Api, example_com: Any) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias = issue(owner=alice)
    thief, client = taken_over(), api(alice)
    link = undo_link()
    # What a thief does next.
    thief.post("/addresses/", {"email": "second@evil.test"})
    primary = EmailAddress.objects.get(email=THIEF)
    for email in ("alice@example.com", home.email):
        address = EmailAddress.objects.get(email=email)
        thief.post(f"/addresses/{address.pk}/remove/", {"move_to": primary.pk})
    TOTP.activate(alice, generate_totp_secret())
    assert [row.email for row in Alias.objects.get(pk=alias.pk).destination_addresses] == [THIEF]
    mail.outbox.clear()

    assert press(link) == 200

    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    rows = EmailAddress.objects.order_by("-primary").values_list("email", "verified", "primary")
    assert list(rows) == [("alice@example.com", True, True), ("alice@home.test", True, False)]
    assert [row.email for row in Alias.objects.get(pk=alias.pk).destination_addresses] == [alice.email]
    assert not is_in(thief)
    assert client.get("/api/user_info").status_code == 401
    assert not is_in(sign_in())  # the thief knows the password
    assert not Authenticator.objects.exists()
    assert [message.to for message in mail.outbox] == [["alice@example.com"]]
    browser = Client()
    form = browser.get(link_to(alice.email, "/accounts/password/reset/key/"))["Location"]
    browser.post(form, {"password1": "a-new-passphrase", "password2": "a-new-passphrase"})
    assert is_in(browser)
    # Once.
    assert press(link) == 404


def test_a_later_change_does_not_disable_the_link_and_gives_the_thief_none_that_lasts(alice: User) -> None:
    thief = taken_over()
    link = undo_link()
    for email in ("second@evil.test", "third@evil.test"):
        thief.post("/addresses/", {"email": email})
        thief.post(link_to(email, "/accounts/confirm-email/"))
        make_primary(thief, email)
    thiefs = [undo_link(THIEF), undo_link("second@evil.test")]

    assert press(thiefs[0]) == 200  # while the account is the thief's
    assert User.objects.get().email == THIEF
    assert press(link) == 200
    assert [press(one) for one in thiefs] == [404, 404]
    assert User.objects.get().email == "alice@example.com"
    assert set(EmailAddress.objects.values_list("email", flat=True)) == {"alice@example.com"}


def test_who_takes_it_back_on_the_page_gives_the_thief_no_link(alice: User) -> None:
    taken_over()
    browser = sign_in(THIEF)
    make_primary(browser, "alice@example.com")

    assert User.objects.get().email == "alice@example.com"
    (told,) = mail_to(THIEF)[-1:]
    assert "alice@example.com is now the primary address" in told
    assert "/undo/" not in told
    assert press(undo_link()) == 200
    assert not EmailAddress.objects.filter(email=THIEF).exists()


def test_a_link_ends_after_seven_days(alice: User) -> None:
    taken_over()

    with time_machine.travel(timezone.now() + timedelta(days=7, minutes=1)):
        assert press(undo_link()) == 404
    assert User.objects.get().email == THIEF


@pytest.mark.parametrize("token", ["x", "1", "1:x", ":", "%00", "9" * 500, "²:x"])
def test_a_link_that_was_not_mailed_is_none(alice: User, token: str) -> None:
    taken_over()

    assert press(f"/addresses/undo/{token}/") == 404


def test_a_link_of_another_kind_is_none(alice: User) -> None:
    taken_over()
    change = AddressChange.objects.get(kind="primary")

    for token in (Signer().sign(str(change.pk)), Signer(salt="mail.unsubscribe").sign(str(change.pk))):
        assert press(f"/addresses/undo/{token}/") == 404


def test_looking_at_the_page_changes_nothing(alice: User) -> None:
    taken_over()

    page = Client().get(undo_link()).content.decode()

    assert THIEF in page
    assert User.objects.get().email == THIEF


@pytest.mark.parametrize("where", ["page", "sign-up", "command", "alias"])
def test_nobody_else_takes_the_address_while_the_link_lasts(
    alice: User, mallory: User, settings: Any, where: str
) -> None:
    thief = sign_in()
    thief.post("/addresses/", {"email": THIEF})
    thief.post(link_to(THIEF, "/accounts/confirm-email/"))
    make_primary(thief, THIEF)
    link = undo_link()
    thief.post(f"/addresses/{EmailAddress.objects.get(email='alice@example.com').pk}/remove/")
    settings.SIGNUP_OPEN = True

    if where == "page":
        other = sign_in(mallory.email, "mallory-password-1")
        other.post("/addresses/", {"email": "Alice@example.com"})
        assert not EmailAddress.objects.filter(user=mallory, email="alice@example.com").exists()
    elif where == "sign-up":
        fields = {"email": "alice@example.com", "password1": "a-long-phrase", "password2": "a-long-phrase"}
        Client().post("/accounts/signup/", fields)
        assert User.objects.count() == 2
    elif where == "command":
        with pytest.raises(ValidationError):
            User.objects.create_user("alice@example.com")
    else:
        boss = User.objects.create_superuser("root@admin.test")
        parts = {"domain": "example.com", "prefix": "alice"}
        with pytest.raises(AddressTaken):
            issue_chosen(owner=boss, **parts)
        with pytest.raises(AddressTaken):
            issue_chosen(owner=boss, destinations=[boss.email], **parts)

    assert press(link) == 200
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"


def test_what_is_old_is_forgotten(alice: User) -> None:
    taken_over()

    with time_machine.travel(timezone.now() + timedelta(days=13)):
        call_command("tidy_address_changes")
        assert AddressChange.objects.count() == 3
    with time_machine.travel(timezone.now() + timedelta(days=14, minutes=1)):
        call_command("tidy_address_changes")
        assert not AddressChange.objects.exists()


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_of_two_who_press_the_button_at_once_one_is_too_late(alice: User) -> None:
    taken_over()
    change = AddressChange.objects.get(kind="primary")

    results = all_at_once([lambda: undo(change)] * 2)

    assert {result if result is True else result[0] for result in results} == {True, "UndoOver"}
    assert User.objects.get().email == "alice@example.com"
    assert EmailAddress.objects.count() == 1


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_thief_who_changes_the_address_in_the_same_moment_gains_nothing(alice: User) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    taken_over()
    change = AddressChange.objects.get(kind="primary")
    thief = User.objects.get()

    results = all_at_once([lambda: undo(change), lambda: make_primary_verb(thief, home)])

    # Before the undo it is taken back with the rest, after it the session has ended.
    assert results[0] is True
    assert results[1] is None or results[1][0] in {"RightsEnded", "DoesNotExist"}
    assert User.objects.get().email == "alice@example.com"
    assert EmailAddress.objects.filter(primary=True).get().email == "alice@example.com"


def test_an_account_elsewhere_that_was_connected_lately_is_disconnected(alice: User) -> None:
    """A thief could sign in with it after the undo."""
    old = Identity.objects.create(user=alice, issuer="https://id.test", subject="alice")
    Identity.objects.filter(pk=old.pk).update(created=timezone.now() - timedelta(days=30))
    Identity.objects.create(user=alice, issuer="https://id.test", subject="thief")
    taken_over()

    press(undo_link())

    assert Identity.objects.get() == old
