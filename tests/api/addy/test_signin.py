"""addy.io's browser extension and apps sign in with a user name: our e-mail address."""

from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from tokens.models import Token
from tokens.scopes import EVERY_CALL

pytestmark = pytest.mark.django_db

PASSWORD = "alice-password-1"


def sign_in(**more: Any) -> Any:
    """As the extension sends it (2026-03)."""
    body = {"username": "alice@example.com", "password": PASSWORD, "device_name": "Firefox", **more}
    return APIClient().post(
        "/api/auth/login",
        body,
        format="json",
        HTTP_X_REQUESTED_WITH="XMLHttpRequest",
        HTTP_X_REQUESTED_FROM="browser-extension",
    )


def test_the_extension_signs_in_and_gets_a_bare_token_for_everything(alice: User) -> None:
    answer = sign_in(username="ALICE@example.com")

    assert answer.status_code == 200
    body = answer.json()
    token = Token.objects.get()
    assert set(body) == {"api_key", "name", "created_at", "expires_at"}
    assert (body["name"], body["expires_at"]) == ("Firefox (signed in)", None)
    assert body["created_at"] == token.created.strftime("%Y-%m-%d %H:%M:%S")
    assert 40 <= len(body["api_key"]) <= 60
    assert body["api_key"].isalnum()
    assert token.rights == EVERY_CALL
    assert token.by_password
    options = APIClient().get("/api/v1/domain-options", HTTP_AUTHORIZATION=f"Bearer {body['api_key']}")
    assert options.json()["data"] == ["example.com"]


@pytest.mark.parametrize(("word", "days"), [("day", 1), ("week", 7), ("month", 30), ("year", 365)])
def test_the_token_lasts_as_long_as_is_asked_for(alice: User, word: str, days: int) -> None:
    body = sign_in(expiration=word).json()

    token = Token.objects.get()
    assert token.expires is not None
    assert abs(token.expires - timezone.now() - timedelta(days=days)) < timedelta(minutes=1)
    assert body["expires_at"] == token.expires.strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize("value", ["century", 7, ["day"]])
def test_another_lifetime_is_refused_by_its_field(alice: User, value: Any) -> None:
    answer = sign_in(expiration=value)

    assert answer.status_code == 422
    assert set(answer.json()) == {"message", "errors"}
    assert set(answer.json()["errors"]) == {"expiration"}
    assert not Token.objects.exists()


def test_wrong_passwords_are_told_alike_in_addys_words_and_limited_with_the_others(alice: User) -> None:
    answers = [
        sign_in(password="wrong"),
        sign_in(username="nobody@example.com"),
        sign_in(username="alice"),
        sign_in(username=""),
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.content for answer in answers} == {b'{"message":"Email or password incorrect"}'}
    assert {answer["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    codes = [sign_in(password="wrong").status_code for _ in range(12)]
    assert codes[-1] == 429
    body = {"email": alice.email, "password": PASSWORD}
    # One rule: SimpleLogin's words are counted together with addy.io's.
    assert APIClient().post("/api/auth/login", body, format="json").status_code == 429
    assert not Token.objects.exists()


def test_it_can_be_off(alice: User, settings: Settings) -> None:
    settings.API_PASSWORD_LOGIN = False

    answer = sign_in()

    assert (answer.status_code, set(answer.json())) == (403, {"message"})
    assert not Token.objects.exists()


def test_a_second_factor_is_asked_for_as_the_clients_expect(alice: User) -> None:
    TOTP.activate(alice, secret := generate_totp_secret())
    asked = sign_in(expiration="week")

    assert asked.status_code == 422
    # Without a csrf_token both the extension and the Android app take it for an error.
    assert set(asked.json()) == {"message", "mfa_key", "csrf_token"}
    assert all(asked.json().values())
    assert not Token.objects.exists()

    def confirm(code: str, key: str) -> Any:
        body = {"mfa_key": key, "otp": code, "device_name": "Firefox", "expiration": "week"}
        return APIClient().post("/api/auth/mfa", body, format="json", HTTP_X_CSRF_TOKEN="none")

    key = asked.json()["mfa_key"]
    code = format_hotp_value(hotp_value(secret, int(timezone.now().timestamp()) // 30))
    for wrong in (confirm("000000" if code != "000000" else "111111", key), confirm(code, key[:-1] + "-")):
        assert (wrong.status_code, set(wrong.json())) == (401, {"message"})
    answer = confirm(code, key)
    assert answer.status_code == 200
    assert set(answer.json()) == {"api_key", "name", "created_at", "expires_at"}
    assert answer.json()["expires_at"]
    assert Token.objects.get().rights == EVERY_CALL


def test_a_second_factor_that_only_a_browser_has_is_not_gone_round(alice: User) -> None:
    Authenticator.objects.create(user=alice, type=Authenticator.Type.WEBAUTHN, data={})

    answer = sign_in()

    assert (answer.status_code, set(answer.json())) == (403, {"message"})
    assert not Token.objects.exists()


def test_both_words_are_simplelogins(alice: User) -> None:
    answer = sign_in(email=alice.email)

    assert set(answer.json()) == {"name", "email", "mfa_enabled", "mfa_key", "api_key"}


@pytest.mark.parametrize("username", [None, 7, ["a"], {"a": 1}, "\x00", "x" * 5000])
def test_a_name_that_is_none_is_refused_in_addys_words(alice: User, username: Any) -> None:
    answer = sign_in(username=username)

    assert answer.status_code in {400, 401}
    assert set(answer.json()) == {"message"}


@pytest.mark.parametrize("body", ["", "x", "[]", '{"username": ', '"username"'])
def test_a_body_that_is_none_is_refused(alice: User, body: str) -> None:
    answer = APIClient().post("/api/auth/login", body, content_type="application/json")

    assert (answer.status_code, set(answer.json())) == (400, {"error"})


def test_another_token_of_the_same_name_is_left_alone(alice: User) -> None:
    Token.objects.issue(owner=alice, name="Firefox (signed in)")

    sign_in()
    sign_in()

    assert Token.objects.count() == 2


def test_fields_of_the_other_dialect_are_ignored(alice: User) -> None:
    assert sign_in(device=1).status_code == 200
