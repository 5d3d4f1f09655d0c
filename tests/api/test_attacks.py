"""What somebody hostile sends to the API, and tries with it."""

import json
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core import mail
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.utils import timezone
from django.utils.translation import trans_real
from pytest_django import Settings
from rest_framework.test import APIClient
from time_machine import TimeMachineFixture

from accounts.models import User
from aliases.issuing import issue
from api import docs_page
from api.middleware import ApiHandler
from tests.conftest import Api
from tokens.models import Token

pytestmark = pytest.mark.django_db

PASSWORD = "alice-password-1"
NO_TEXT = ["\\ud800", "\\u0000", "a\\ud800:1:x", "a\\u0000@example.com"]


def post(path: str, **fields: Any) -> Any:
    client = APIClient(raise_request_exception=False)
    return client.post(path, fields, format="json")


def sign_in(**fields: Any) -> Any:
    return post("/api/auth/login", **{"email": "alice@example.com", "password": PASSWORD} | fields)


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(timezone.now().timestamp()) // 30))


# --- What is no text -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", NO_TEXT)
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/auth/login", "email"),
        ("/api/auth/login", "password"),
        ("/api/auth/login", "device"),
        ("/api/auth/mfa", "mfa_key"),
        ("/api/auth/mfa", "mfa_token"),
        ("/api/auth/mfa", "device"),
        ("/api/v2/alias/custom/new", "signed_suffix"),
        ("/api/v3/alias/custom/new", "signed_suffix"),
    ],
)
def test_what_is_no_text_is_refused_in_json(
    alice: User, api: Api, time_machine: TimeMachineFixture, path: str, field: str, text: str
) -> None:
    # A code lasts until the next half minute begins.
    time_machine.move_to(timezone.now(), tick=False)
    home = EmailAddress.objects.get(user=alice).pk
    fields = {"email": alice.email, "password": PASSWORD, "alias_prefix": "x", "mailbox_ids": [home]}
    if path.endswith("/mfa"):
        TOTP.activate(alice, secret := generate_totp_secret())
        fields |= {"mfa_key": sign_in().json()["mfa_key"], "mfa_token": code_of(secret)}
    # Written out: json.dumps would not write the same.
    body = json.dumps(fields | {field: "TEXT"}).replace("TEXT", text)

    answer = api(alice).post(path, body, content_type="application/json")

    assert answer.status_code in {400, 412}
    assert set(answer.json()) == {"error"}
    # A code that came with it is good for another try.
    if path.endswith("/mfa") and field == "device":
        assert post(path, mfa_key=fields["mfa_key"], mfa_token=fields["mfa_token"]).status_code == 200


def test_a_device_is_named_without_line_ends(alice: User) -> None:
    sign_in(device="a\r\nb")

    assert Token.objects.get().name == "a b (signed in)"


def test_as_many_mailboxes_as_a_body_holds_are_refused_before_the_database(
    alice: User, api: Api, django_assert_num_queries: Any
) -> None:
    alias = issue(owner=alice)
    client = api(alice)
    client.get("/api/stats")

    with django_assert_num_queries(3):  # the token; the alias, its destinations
        answer = client.put(f"/api/aliases/{alias.pk}", {"mailbox_ids": [*range(1, 22)]}, format="json")

    assert answer.status_code == 400


# --- Signing in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["password", "deactivation"])
def test_the_second_factor_comes_too_late_after_the_password_ended(alice: User, end: str) -> None:
    TOTP.activate(alice, secret := generate_totp_secret())
    key = sign_in().json()["mfa_key"]
    if end == "password":
        alice.set_password("another-password-2")
        alice.save()
    else:
        alice.deactivate()
        alice.activate()

    answer = post("/api/auth/mfa", mfa_key=key, mfa_token=code_of(secret))

    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid mfa_key: sign in again."})
    assert not Token.objects.exists()


@pytest.mark.parametrize("key", ["", ":", "1", "²:x:y", "9" * 400, "-1:x:y", "1:x:y", " 1:x:y"])
def test_a_key_that_was_not_given_out_is_none(alice: User, key: str) -> None:
    TOTP.activate(alice, secret := generate_totp_secret())

    assert post("/api/auth/mfa", mfa_key=key, mfa_token=code_of(secret)).status_code == 400


def test_the_key_of_one_user_is_none_for_another(alice: User, mallory: User) -> None:
    for user in (alice, mallory):
        TOTP.activate(user, secret := generate_totp_secret())
    key = sign_in(email=mallory.email, password="mallory-password-1").json()["mfa_key"]
    forged = ":".join([str(alice.pk), *key.split(":")[1:]])

    assert post("/api/auth/mfa", mfa_key=forged, mfa_token=code_of(secret)).status_code == 400
    assert post("/api/auth/mfa", mfa_key=key, mfa_token=code_of(secret)).status_code == 200


def test_codes_are_counted_together_with_the_sign_in_page_and_over_new_keys(alice: User) -> None:
    TOTP.activate(alice, generate_totp_secret())
    browser = Client()
    browser.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    for _number in range(3):
        browser.post("/accounts/2fa/authenticate/", {"code": "000000"})

    answers = [post("/api/auth/mfa", mfa_key=sign_in().json()["mfa_key"], mfa_token="000000") for _ in "123"]

    assert [answer.status_code for answer in answers] == [400, 400, 429]
    assert int(answers[-1]["Retry-After"]) > 0


def test_passwords_are_counted_together_with_the_sign_in_page(alice: User) -> None:
    for _number in range(5):
        Client().post("/accounts/login/", {"login": alice.email, "password": "wrong"})

    assert sign_in().status_code == 429


def test_signing_in_rightly_is_limited_as_on_the_page(alice: User) -> None:
    answers = [sign_in(device=str(number)).status_code for number in range(31)]

    assert answers == [200] * 30 + [429]
    assert Token.objects.count() == 30


def test_a_code_is_not_taken_where_signing_in_is_off(alice: User, settings: Settings) -> None:
    TOTP.activate(alice, secret := generate_totp_secret())
    key = sign_in().json()["mfa_key"]
    settings.API_PASSWORD_LOGIN = False

    assert post("/api/auth/mfa", mfa_key=key, mfa_token=code_of(secret)).status_code == 403
    assert not Token.objects.exists()


def test_a_second_factor_that_only_a_browser_has_is_not_gone_round(alice: User) -> None:
    Authenticator.objects.create(user=alice, type=Authenticator.Type.WEBAUTHN, data={})

    assert sign_in().status_code == 403
    assert not Token.objects.exists()


def test_a_session_is_no_key_and_the_api_gives_out_no_cookie(alice: User) -> None:
    browser = Client(headers={"X-Sl-Allowcookies": "true"})
    browser.force_login(alice)

    assert browser.get("/api/user_info").status_code == 401
    assert browser.post("/api/alias/random/new").status_code == 401
    assert not sign_in().cookies


# --- The primary address ---------------------------------------------------------------------------


def test_the_old_primary_address_hears_of_the_new_one(alice: User) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    browser = Client()
    browser.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})

    for _time in (1, 2):  # the second time nothing changes
        browser.post(f"/addresses/{home.pk}/primary/")

    assert User.objects.get(pk=alice.pk).email == "alice@home.test"
    assert [message.to for message in mail.outbox] == [["alice@example.com"]]
    assert "alice@home.test" in mail.outbox[0].body


def test_an_address_that_cannot_be_told_of_it_stops_nothing_and_hears_of_it_later(
    alice: User, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionRefusedError("alice@example.com")

    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    with monkeypatch.context() as patched:
        patched.setattr("django.core.mail.message.EmailMessage.send", away)
        answer = api(alice).delete(f"/api/mailboxes/{home.pk}")

    assert (answer.status_code, answer.json()) == (200, {"deleted": True})
    assert "not notified of an address change: ConnectionRefusedError" in caplog.text
    assert "@" not in caplog.text
    for _day in (1, 2):
        call_command("tidy_address_changes")
    assert [message.to for message in mail.outbox] == [["alice@example.com"]]


# --- What it costs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?version=a%0d%0aX-Y:z", "?lang=tlh", "?lang=%00", "?format=x"])
def test_the_schema_is_made_once_and_no_query_has_a_say(monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    first = Client().get("/api/schema/")
    known = len(trans_real._translations)
    monkeypatch.setattr(docs_page, "SchemaGenerator", None)

    answer = Client(raise_request_exception=False).get(f"/api/schema/{query}")

    assert answer.status_code == 200
    assert answer.content == first.content
    assert answer["Content-Disposition"] == 'inline; filename="Anonmail.yaml"'
    assert len(trans_real._translations) == known


def test_a_search_looks_for_no_more_than_a_person_types(alice: User, api: Api) -> None:
    alias = issue(owner=alice, note="a" * 300)

    answer = api(alice).post("/api/v2/aliases?page_id=0", {"query": "a" * 200 + "b" * 200}, format="json")

    assert [row["id"] for row in answer.json()["aliases"]] == [alias.pk]


def test_only_paths_in_which_nothing_varies_are_remembered(rf: RequestFactory) -> None:
    handler = ApiHandler()
    handler.load_middleware()
    for path in ("/api/user_info", "/api/user_info/", "/api/aliases/1", "/api/aliases/2", "/api/nothing/3"):
        handler.get_response(rf.get(path))

    assert list(handler.fixed_paths) == ["/api/user_info"]
