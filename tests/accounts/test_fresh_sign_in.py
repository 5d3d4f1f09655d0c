"""Somebody who has a token, or a browser with an old sign-in, does not get the account."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core import mail
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tests.conftest import Api
from tests.rig.admin import INLINES
from tests.rig.takeover import PASSWORD, THIEF, is_in, link_to, mail_to, sign_in
from tokens.models import Token

pytestmark = pytest.mark.django_db


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
    change = {"name": "", "is_active": "on", "is_superuser": "on", **INLINES}

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
