"""Sign-ins that are told by mail: by apps, and from browsers that are new."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core import mail
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from accounts.sign_ins import COOKIE, browser_in_words, is_known
from tokens.models import Token

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.0 Mobile/15E148 Safari/604.1"
)
PASSWORD = "alice-password-1"


@pytest.fixture
def alice(alice: User) -> User:
    """Has signed in before."""
    User.objects.filter(pk=alice.pk).update(last_login=timezone.now())
    alice.refresh_from_db()
    return alice


def sign_in(browser: Client, password: str = PASSWORD, **extra: Any) -> Any:
    data = {"login": "alice@example.com", "password": password}
    return browser.post("/accounts/login/", data, **extra)


def app_signs_in(**more: Any) -> Any:
    body = {"email": "alice@example.com", "password": PASSWORD, "device": "phone", **more}
    return APIClient().post("/api/auth/login", body, format="json", HTTP_USER_AGENT=SAFARI)


def test_a_new_browser_is_told_to_the_primary_address(alice: User) -> None:
    browser = Client(headers={"User-Agent": FIREFOX}, REMOTE_ADDR="192.0.2.77")
    moment = timezone.now().replace(year=2030, month=5, day=6, hour=7, minute=8)

    with time_machine.travel(moment, tick=False):
        sign_in(browser)

    message = mail.outbox[0]
    text = " ".join(str(message.body).split())
    assert (message.to, message.subject) == (
        ["alice@example.com"],
        "[Anonmail] A new browser signed in to your account",
    )
    assert "Time: 2030-05-06 07:08 UTC" in text
    assert "Browser and system: Firefox on Linux" in text
    assert "Network (approximate): 192.0.2.0/24" in text
    assert "192.0.2.77" not in text
    assert "change your password now" in text
    assert "/accounts/password/change/" in text
    assert "/accounts/password/reset/" in text


def test_a_browser_is_told_once_even_after_its_session_ended(alice: User) -> None:
    browser = Client()
    sign_in(browser)
    browser.post("/accounts/logout/")

    sign_in(browser)

    assert len(mail.outbox) == 1
    cookie = browser.cookies[COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 400 * 24 * 3600
    assert alice.email not in cookie.value


def test_the_cookie_is_sent_over_https_alone_there(alice: User, settings: Settings) -> None:
    settings.HTTPS = True
    browser = Client()
    sign_in(browser)

    assert browser.cookies[COOKIE]["secure"]


def test_the_first_sign_in_of_all_is_not_told(alice: User) -> None:
    User.objects.update(last_login=None)
    browser = Client()

    sign_in(browser)

    assert mail.outbox == []
    assert COOKIE in browser.cookies
    sign_in(Client())
    assert len(mail.outbox) == 1


def test_a_wrong_password_and_a_missing_code_tell_nothing_and_make_no_browser_known(alice: User) -> None:
    TOTP.activate(alice, generate_totp_secret())
    browser = Client()
    sign_in(browser, "wrong")
    sign_in(browser)
    browser.post("/accounts/2fa/authenticate/", {"code": "000000"})
    app_signs_in()

    assert mail.outbox == []
    assert COOKIE not in browser.cookies


def test_a_new_browser_is_told_after_its_second_factor(alice: User) -> None:
    TOTP.activate(alice, secret := generate_totp_secret())
    browser = Client()
    sign_in(browser)
    code = format_hotp_value(hotp_value(secret, int(timezone.now().timestamp()) // 30))

    browser.post("/accounts/2fa/authenticate/", {"code": code})

    assert [message.subject for message in mail.outbox] == [
        "[Anonmail] A new browser signed in to your account"
    ]
    assert COOKIE in browser.cookies


def test_a_passkey_from_a_new_browser_is_told(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Authenticator.objects.create(
        user=alice, type=Authenticator.Type.WEBAUTHN, data={"name": "key", "credential": {}}
    )
    browser = Client()
    monkeypatch.setattr(
        "allauth.mfa.webauthn.forms.LoginWebAuthnForm.is_valid", lambda form: True, raising=True
    )
    monkeypatch.setattr(
        "allauth.mfa.webauthn.forms.LoginWebAuthnForm.cleaned_data", {"credential": key}, raising=False
    )

    browser.post("/accounts/2fa/webauthn/login/", {"credential": "{}"})

    assert browser.get("/aliases/").status_code == 200
    assert len(mail.outbox) == 1


def test_an_app_is_told_each_time_by_the_name_that_it_gives(alice: User) -> None:
    app_signs_in(device="phone\r\nBcc: x@y.test")
    app_signs_in(device="phone\r\nBcc: x@y.test")

    assert len(mail.outbox) == 2
    message = mail.outbox[0]
    text = " ".join(str(message.body).split())
    assert message.subject == "[Anonmail] An app signed in to your account"
    assert message.recipients() == ["alice@example.com"]
    assert "An app that calls itself “phone Bcc: x@y.test” signed in" in text
    assert "Safari on iOS" in text


def test_a_token_that_an_app_got_with_a_code_is_told(alice: User) -> None:
    TOTP.activate(alice, secret := generate_totp_secret())
    key = app_signs_in().json()["mfa_key"]
    code = format_hotp_value(hotp_value(secret, int(timezone.now().timestamp()) // 30))

    APIClient().post("/api/auth/mfa", {"mfa_key": key, "mfa_token": code, "device": "phone"}, format="json")

    assert [message.subject for message in mail.outbox] == ["[Anonmail] An app signed in to your account"]


def test_there_is_no_storm(alice: User, settings: Settings) -> None:
    settings.SIGN_IN_MAILS_PER_DAY = 3
    for _number in range(5):
        sign_in(Client())
    app_signs_in()
    today = len(mail.outbox)

    with time_machine.travel(timezone.now() + timedelta(days=1, minutes=1)):
        sign_in(Client())

    assert (today, len(mail.outbox)) == (3, 4)


def test_a_mail_server_that_is_away_stops_no_sign_in(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("django.core.mail.message.EmailMessage.send", away)
    browser = Client()

    sign_in(browser)

    assert browser.get("/aliases/").status_code == 200
    assert app_signs_in().status_code == 200
    assert Token.objects.count() == 1


def test_with_a_new_password_every_browser_is_new_but_the_one_that_changed_it(alice: User) -> None:
    here, elsewhere = Client(), Client()
    for browser in (here, elsewhere):
        sign_in(browser)
    new = {"oldpassword": PASSWORD, "password1": "another-password-2", "password2": "another-password-2"}
    here.post("/accounts/password/change/", new)
    mail.outbox.clear()
    for browser in (here, elsewhere):
        browser.post("/accounts/logout/")
        sign_in(browser, "another-password-2")

    assert len(mail.outbox) == 1


@pytest.mark.parametrize("value", ["", "x", ".", "....", "0" * 64, "." * 10_000, "é", "\x00"])
def test_a_cookie_that_we_did_not_give_makes_no_browser_known(alice: User, value: str) -> None:
    request: HttpRequest = RequestFactory().get("/")
    request.COOKIES[COOKIE] = value

    assert not is_known(request, alice)


def test_the_cookie_of_one_is_none_for_another_and_a_family_shares_a_browser(
    alice: User, mallory: User
) -> None:
    User.objects.update(last_login=timezone.now())
    browser = Client()
    for _round in range(2):
        sign_in(browser)
        browser.post("/accounts/logout/")
        data = {"login": mallory.email, "password": "mallory-password-1"}
        browser.post("/accounts/login/", data)
        browser.post("/accounts/logout/")

    assert sorted(message.to[0] for message in mail.outbox) == ["alice@example.com", "mallory@evil.test"]


@pytest.mark.parametrize(
    ("agent", "words"),
    [(FIREFOX, "Firefox on Linux"), (SAFARI, "Safari on iOS"), ("", "unknown"), ("okhttp/4.9", "unknown")],
)
def test_a_browser_is_told_in_words(agent: str, words: str) -> None:
    assert browser_in_words(agent) == words


@given(st.text() | st.lists(st.sampled_from(FIREFOX.split() + SAFARI.split() + [";", "("])).map(" ".join))
def test_no_header_stops_a_sign_in(agent: str) -> None:
    words = browser_in_words(agent)

    assert words
    assert "\n" not in words
    assert len(words) < 100
