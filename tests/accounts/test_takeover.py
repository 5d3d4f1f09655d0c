"""Whoever has a token, or a browser in which somebody signed in long ago, does not get the account."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

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
