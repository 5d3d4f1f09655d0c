"""What holds on every page: headers, errors, limits of signing in."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/accounts/login/", "/aliases/", "/nothing/", "/admin/"])
def test_the_headers_are_strict(browser: Client, path: str) -> None:
    answer = browser.get(path, follow=True)

    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"


def test_with_https_cookies_are_secure_and_hsts_is_on(settings: Settings) -> None:
    settings.SECURE_HSTS_SECONDS = 31536000
    settings.SECURE_SSL_REDIRECT = True

    page = Client().get("/accounts/login/", secure=True)
    plain = Client().get("/accounts/login/")
    api = Client().get("/api/user_info")

    assert page["Strict-Transport-Security"] == "max-age=31536000"
    assert (plain.status_code, plain["Location"]) == (301, "https://testserver/accounts/login/")
    assert api.status_code == 401


@pytest.mark.parametrize("path", ["/aliases/", "/tokens/", "/addresses/", "/account/", "/aliases/new/"])
def test_no_page_has_inline_script_or_style(browser: Client, alice: User, path: str) -> None:
    issue(owner=alice)

    text = browser.get(path).content.decode()

    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)


def test_errors_wear_the_sites_look(browser: Client, mallory: User) -> None:
    missing = browser.get("/nothing/")
    assert (missing.status_code, "This page does not exist." in missing.content.decode()) == (404, True)

    browser.raise_request_exception = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aliases.views.first_page", lambda *args: 1 / 0)
        crashed = browser.get("/aliases/")
    assert crashed.status_code == 500
    assert "Something went wrong on our side." in crashed.content.decode()
    assert "ZeroDivisionError" not in crashed.content.decode()


def test_too_many_sign_ins_are_answered_in_the_sites_look(alice: User, client: Client) -> None:
    for _ in range(40):
        answer = client.post("/accounts/login/", {"login": f"x{_}@example.com", "password": "wrong"})

    assert answer.status_code == 429
    assert "Too many attempts." in answer.content.decode()


def test_sign_up_is_closed_unless_opened(client: Client, settings: Settings) -> None:
    data = {"email": "new@new.test", "password1": "a-long-password-1", "password2": "a-long-password-1"}
    client.post("/accounts/signup/", data)
    assert not User.objects.exists()

    settings.SIGNUP_OPEN = True
    client.post("/accounts/signup/", data)

    assert not EmailAddress.objects.get().verified
    assert client.get("/aliases/").status_code == 302


def test_signing_in_leads_nowhere_but_here(alice: User, client: Client) -> None:
    data = {"login": alice.email, "password": "alice-password-1"}

    answer = client.post("/accounts/login/?next=https://evil.test/", data)

    assert answer["Location"] == "/aliases/"
