"""SimpleLogin's way to sign in: with the password and the second factor, and what only pages do."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from tests.conftest import Api
from tokens.models import Token

pytestmark = pytest.mark.django_db

PASSWORD = "alice-password-1"


def sign_in(**fields: Any) -> Any:
    return APIClient().post(
        "/api/auth/login",
        {"email": "alice@example.com", "password": PASSWORD, "device": "phone"} | fields,
        format="json",
    )


def test_an_app_signs_in_with_a_password(alice: User) -> None:
    first = sign_in(email="ALICE@Example.com")
    second = sign_in()

    assert first.status_code == 200
    assert first.json()["mfa_enabled"] is False
    key = second.json()["api_key"]
    assert APIClient().get("/api/user_info", HTTP_AUTHENTICATION=key).json()["email"] == "alice@example.com"
    # The device's earlier token is gone: nobody could read it any more.
    assert Token.objects.get().name == "phone (signed in)"
    assert APIClient().get("/api/user_info", HTTP_AUTHENTICATION=first.json()["api_key"]).status_code == 401


def test_wrong_passwords_are_told_alike_and_limited(alice: User, settings: Settings) -> None:
    answers = [
        sign_in(password="wrong"),
        sign_in(email="nobody@example.com"),
        sign_in(email="x"),
        sign_in(email="", password=""),
    ]
    alice.deactivate()
    answers.append(sign_in())

    assert {answer.status_code for answer in answers} == {400}
    assert {answer.content for answer in answers} == {b'{"error":"Email or password incorrect"}'}
    codes = [sign_in(password="wrong").status_code for _ in range(12)]
    assert codes[-1] == 429
    assert not Token.objects.exists()


def test_fields_of_the_other_dialect_are_ignored(alice: User) -> None:
    credentials = {"email": alice.email, "password": "alice-password-1", "device": "phone"}

    answer = APIClient().post(
        "/api/auth/login", {**credentials, "expiration": "never", "device_name": 1}, format="json"
    )

    assert answer.status_code == 200


def test_signing_in_can_be_off(alice: User, settings: Settings) -> None:
    settings.API_PASSWORD_LOGIN = False

    assert sign_in().status_code == 403
    assert not Token.objects.exists()


def test_the_second_factor_is_asked_for(alice: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(alice, secret)
    first = sign_in().json()
    assert (first["mfa_enabled"], first["api_key"]) == (True, None)

    def confirm(code: Any, key: str = first["mfa_key"]) -> Any:
        body = {"mfa_token": code, "mfa_key": key, "device": "phone"}
        return APIClient().post("/api/auth/mfa", body, format="json")

    now = int(timezone.now().timestamp()) // 30
    code = format_hotp_value(hotp_value(secret, now))
    wrong = "000000" if code != "000000" else "111111"
    assert confirm(wrong).status_code == 400
    assert confirm(code, first["mfa_key"][:-1] + "x").status_code == 400
    for none in (-1, 10**6, True, 1.5, [], None):
        assert confirm(none).status_code == 400
    with time_machine.travel(timezone.now() + timedelta(seconds=301)):
        assert confirm(code).status_code == 400
    answer = confirm(code)
    assert answer.status_code == 200
    assert APIClient().get("/api/user_info", HTTP_AUTHENTICATION=answer.json()["api_key"]).status_code == 200
    # A code is good once.
    assert confirm(code).status_code == 400


def test_a_key_makes_no_key_and_without_one_it_is_a_json_401(alice: User, api: Api) -> None:
    bare = APIClient().post("/api/api_key", "{}", content_type="text/plain")

    assert (bare.status_code, set(bare.json())) == (401, {"error"})
    assert api(alice).post("/api/api_key", {"device": "x"}, format="json").status_code == 440
    assert Token.objects.count() == 1


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/dashboard/", "/aliases/"),
        ("/dashboard/api_key", "/tokens/"),
        ("/onboarding", "/aliases/"),
        ("/auth/register", "/accounts/signup/"),
    ],
)
def test_the_pages_that_clients_open_lead_to_ours(db: None, path: str, leads_to: str) -> None:
    assert APIClient().get(path)["Location"] == leads_to
