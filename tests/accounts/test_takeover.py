"""Whoever has a token, or a browser in which somebody signed in long ago, does not get the account."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core import mail
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.signing import Signer
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import AddressChange, User
from aliases.exceptions import AddressTaken
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias
from mailboxes.adding import confirm_address
from mailboxes.changing import make_primary as make_primary_verb
from mailboxes.changing import remove_address
from mailboxes.exceptions import RightsEnded
from mailboxes.undo import undo
from tests.aliases.test_races import all_at_once
from tokens.models import Token

pytestmark = pytest.mark.django_db

Api = Callable[[User], APIClient]
PASSWORD = "alice-password-1"
THIEF = "thief@evil.test"


def sign_in(email: str = "alice@example.com", password: str = PASSWORD) -> Client:
    browser = Client()
    browser.post("/accounts/login/", {"login": email, "password": password})
    return browser


def is_in(browser: Client) -> bool:
    return browser.get("/aliases/").status_code == 200


def mail_to(address: str) -> list[str]:
    """The bodies of the mails to this address."""
    return [str(message.body) for message in mail.outbox if message.to == [address]]


def link_to(address: str, path: str) -> str:
    """The path of the newest link below `path` that was mailed to this address."""
    found = [link for body in mail_to(address) for link in re.findall(rf"http://[^/\s]+({path}\S+)", body)]
    return found[-1]


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(timezone.now().timestamp()) // 30))


@pytest.fixture
def old_session(alice: User) -> Iterator[Client]:
    """A browser of alice's in which the sign-in is an hour old."""
    browser = sign_in()
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        yield browser


def test_a_token_does_not_take_the_account_over(alice: User, api: Api) -> None:
    client, stranger = api(alice), Client()
    primary = EmailAddress.objects.get(user=alice)

    added = client.post("/api/mailboxes", {"email": THIEF}, format="json")
    stranger.post(link_to(THIEF, "/accounts/confirm-email/"))
    box = EmailAddress.objects.get(email=THIEF)
    assert (added.status_code, box.verified) == (201, False)

    # And where somebody had it verified all the same:
    EmailAddress.objects.filter(pk=box.pk).update(verified=True)
    mail.outbox.clear()
    stranger.post("/accounts/password/reset/", {"email": THIEF})
    made_primary = client.put(f"/api/mailboxes/{box.pk}", {"default": True}, format="json")
    changed = client.put(f"/api/mailboxes/{primary.pk}", {"email": THIEF}, format="json")
    deleted = client.delete(f"/api/mailboxes/{primary.pk}", {"transfer_aliases_to": box.pk}, format="json")

    assert not any("/password/reset/" in body for body in mail_to(THIEF))
    assert [answer.status_code for answer in (made_primary, changed, deleted)] == [403, 403, 409]
    assert "/addresses/" in made_primary.json()["error"]
    assert not is_in(sign_in(THIEF))
    assert APIClient().post("/api/auth/login", {"email": THIEF, "password": PASSWORD}).status_code == 400
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"
    assert is_in(sign_in())


def test_an_old_session_does_not_take_the_account_over(alice: User, old_session: Client) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)

    answers = [
        old_session.post("/addresses/", {"email": THIEF}),
        old_session.post(f"/addresses/{home.pk}/primary/"),
        old_session.post(f"/addresses/{home.pk}/remove/"),
        old_session.post("/tokens/new/", {"name": "x"}),
        old_session.get("/account/everything.json"),
        old_session.get("/account/aliases.csv"),
        old_session.post("/account/delete/", {"confirm": alice.email}),
        old_session.get("/accounts/2fa/totp/activate/"),
        old_session.get("/accounts/2fa/webauthn/add/"),
    ]

    assert [answer["Location"].partition("?")[0] for answer in answers] == ["/accounts/reauthenticate/"] * 9
    assert is_in(old_session)
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"
    assert set(EmailAddress.objects.values_list("email", flat=True)) == {"alice@example.com", home.email}
    assert not Token.objects.exists()


def test_a_second_factor_is_asked_for_and_the_password_alone_does_nothing(alice: User) -> None:
    browser = sign_in()
    TOTP.activate(alice, secret := generate_totp_secret())
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        asked = browser.post("/addresses/", {"email": "new@home.test"})
        assert asked["Location"].startswith("/accounts/2fa/reauthenticate/")

        gone_round = browser.post("/accounts/reauthenticate/?next=/addresses/", {"password": PASSWORD})
        assert gone_round["Location"].startswith("/accounts/2fa/reauthenticate/")
        assert browser.post("/addresses/", {"email": "new@home.test"}).status_code == 302
        assert not EmailAddress.objects.filter(email="new@home.test").exists()

        browser.post(asked["Location"], {"code": code_of(secret)})
    assert EmailAddress.objects.filter(email="new@home.test").exists()


def test_an_old_session_of_an_admin_makes_no_other_admin(root: User, alice: User) -> None:
    browser = sign_in(root.email, "root-password-1")
    add = {"email": THIEF, "name": ""}
    inline = {f"emailaddress_set-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    change = {"name": "", "is_active": "on", "is_superuser": "on", **inline}

    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        answers = [
            browser.post("/admin/accounts/user/add/", add),
            browser.post(f"/admin/accounts/user/{alice.pk}/change/", change),
        ]
        assert [answer["Location"].partition("?")[0] for answer in answers] == [
            "/accounts/reauthenticate/"
        ] * 2
        assert not User.objects.exclude(pk=root.pk).filter(is_superuser=True).exists()
        assert not User.objects.filter(email=THIEF).exists()
        # The password given, what was asked for last is done.
        browser.post(answers[1]["Location"], {"password": "root-password-1"})
    assert User.objects.get(pk=alice.pk).is_superuser


# --- The link in the mail that verifies an address -----------------------------------------------


def test_the_link_of_a_further_address_is_for_its_signed_in_owner(alice: User, mallory: User) -> None:
    owner, stranger = sign_in(), sign_in(mallory.email, "mallory-password-1")
    owner.post("/addresses/", {"email": "alice@home.test"})
    link = link_to("alice@home.test", "/accounts/confirm-email/")
    signed_out = Client()

    asked = signed_out.post(link)
    refused = [stranger.get(link).status_code, stranger.post(link).status_code]
    assert asked["Location"].startswith("/accounts/login/")
    assert refused == [404, 404]
    assert not EmailAddress.objects.get(email="alice@home.test").verified

    went_on = signed_out.post(asked["Location"], {"login": alice.email, "password": PASSWORD})
    assert went_on["Location"] == link
    assert "alice@home.test" in signed_out.get(link).content.decode()
    signed_out.post(link)
    assert EmailAddress.objects.get(email="alice@home.test").verified


def test_what_a_token_added_is_verified_after_a_fresh_sign_in_alone(
    alice: User, api: Api, old_session: Client
) -> None:
    api(alice).post("/api/mailboxes", {"email": THIEF}, format="json")
    link = link_to(THIEF, "/accounts/confirm-email/")

    answers = [old_session.get(link), old_session.post(link)]

    assert [answer["Location"].partition("?")[0] for answer in answers] == ["/accounts/reauthenticate/"] * 2
    assert not EmailAddress.objects.get(email=THIEF).verified


def test_what_a_token_added_never_signs_in(alice: User, api: Api) -> None:
    api(alice).post("/api/mailboxes", {"email": "alice@home.test"}, format="json")
    browser = sign_in()
    browser.post(link_to("alice@home.test", "/accounts/confirm-email/"))
    home = EmailAddress.objects.get(email="alice@home.test")

    page = browser.post(f"/addresses/{home.pk}/primary/", follow=True).content.decode()

    assert home.verified
    assert "remove it and add it again" in page
    assert "Make primary" not in page
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"
    # Removed, and added with a fresh sign-in, it may. (The package mails an address once in 3 minutes.)
    cache.clear()
    browser.post(f"/addresses/{home.pk}/remove/")
    browser.post("/addresses/", {"email": "alice@home.test"})
    browser.post(link_to("alice@home.test", "/accounts/confirm-email/"))
    browser.post(f"/addresses/{EmailAddress.objects.get(email='alice@home.test').pk}/primary/")
    assert User.objects.get(pk=alice.pk).email == "alice@home.test"


# --- The address before hears of everything, and can take it back --------------------------------


def taken_over() -> Client:
    """The browser of somebody with alice's password, after the thief's address became the primary one."""
    thief = sign_in()
    thief.post("/addresses/", {"email": THIEF})
    thief.post(link_to(THIEF, "/accounts/confirm-email/"))
    make_primary(thief, THIEF)
    assert User.objects.get().email == THIEF
    return thief


def make_primary(browser: Client, email: str) -> None:
    browser.post(f"/addresses/{EmailAddress.objects.get(email=email).pk}/primary/")


def press(link: str) -> int:
    """What the button behind the link answers, to a browser in which nobody is signed in."""
    browser = Client(enforce_csrf_checks=True)
    page = browser.get(link)
    if page.status_code != 200:
        return page.status_code
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode())
    assert token
    assert browser.post(link).status_code == 403
    return browser.post(link, {"csrfmiddlewaretoken": token[1]}).status_code


def undo_link(address: str = "alice@example.com") -> str:
    return link_to(address, "/addresses/undo/")


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


def test_an_address_that_waited_for_its_link_is_not_verified_while_it_is_held(
    alice: User, mallory: User
) -> None:
    other = sign_in(mallory.email, "mallory-password-1")
    EmailAddress.objects.create(user=mallory, email="alice@home.test")
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    key = EmailConfirmationHMAC(EmailAddress.objects.get(user=mallory, email="alice@home.test")).key
    sign_in().post(f"/addresses/{home.pk}/remove/")

    other.post(f"/accounts/confirm-email/{key}/")

    assert not EmailAddress.objects.filter(email="alice@home.test", verified=True).exists()


def test_a_session_that_ended_while_it_waited_for_the_lock_changes_nothing(alice: User) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    asking = User.objects.get(pk=alice.pk)
    alice.end_sessions_and_tokens()

    for deed in (make_primary_verb, remove_address, confirm_address):
        with pytest.raises(RightsEnded):
            deed(asking, home)

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


# --- Further ways in -----------------------------------------------------------------------------


def test_only_the_primary_address_signs_in_and_is_mailed_a_reset(alice: User) -> None:
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    login = {"email": "alice@home.test", "password": PASSWORD}

    Client().post("/accounts/password/reset/", {"email": "alice@home.test"})

    assert not any("/password/reset/key/" in str(message.body) for message in mail.outbox)
    assert not is_in(sign_in("alice@home.test"))
    assert APIClient().post("/api/auth/login", login, format="json").status_code == 400
    assert is_in(sign_in())


def test_a_token_may_still_be_named_by_any_verified_address(alice: User) -> None:
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    _token, secret = Token.objects.issue(owner=alice, name="x")

    answer = APIClient(HTTP_AUTHENTICATION=f"alice@home.test:{secret}").get("/api/user_info")

    assert answer.json()["email"] == "alice@example.com"


def test_a_session_without_a_password_does_not_set_one_unasked(alice: User) -> None:
    Authenticator.objects.create(user=alice, type=Authenticator.Type.WEBAUTHN, data={})
    alice.set_unusable_password()
    alice.save()
    browser = Client()
    browser.force_login(alice)

    answer = browser.post(
        "/accounts/password/set/", {"password1": "thiefs-own-1", "password2": "thiefs-own-1"}
    )

    assert answer["Location"].startswith("/accounts/2fa/webauthn/reauthenticate/")
    assert not User.objects.get(pk=alice.pk).has_usable_password()


def test_an_address_that_somebody_else_signs_in_with_cannot_become_primary(
    alice: User, mallory: User
) -> None:
    # Signed up with it, and never verified it.
    User.objects.filter(pk=mallory.pk).update(email="alice@home.test")
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    browser = sign_in()

    page = browser.post(f"/addresses/{EmailAddress.objects.get(email='alice@home.test').pk}/primary/")

    assert page.status_code == 302
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"
