"""A new password: what was made under the old one ends, and the mail says what."""

from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.contrib.auth.hashers import make_password
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from accounts.password_links import password_link
from tokens.models import OwnerChanged, Token

pytestmark = pytest.mark.django_db

OLD, NEW = "alice-password-1", "another-password-2"
CHANGE = "/accounts/password/change/"
Change = Callable[[User, dict[str, str]], Any]


def signed_in(user: User, password: str = OLD) -> Client:
    browser = Client()
    browser.post("/accounts/login/", {"login": user.email, "password": password})
    return browser


def works(secret: str) -> bool:
    return APIClient().get("/api/user_info", HTTP_AUTHENTICATION=secret).status_code == 200


def app_signs_in(user: User, password: str = OLD) -> str:
    body = {"email": user.email, "password": password, "device": "phone"}
    return str(APIClient().post("/api/auth/login", body, format="json").json()["api_key"])


def on_the_page(user: User, ticked: dict[str, str]) -> Any:
    data = {"oldpassword": OLD, "password1": NEW, "password2": NEW, **ticked}
    return signed_in(user).post(CHANGE, data)


def by_a_link(user: User, ticked: dict[str, str]) -> Any:
    """The reset link, and the one that an admin sends."""
    browser = Client()
    form = browser.get(password_link(user).replace("http://localhost:8000", ""), follow=True)
    path = form.redirect_chain[-1][0]
    return browser.post(path, {"password1": NEW, "password2": NEW, **ticked})


WAYS = [on_the_page, by_a_link]
TICKED = {"end_tokens": "on"}


def told() -> str:
    """The mail about the change."""
    mails = [str(message.body) for message in mail.outbox if "assword" in message.subject]
    return " ".join(mails[-1].split())


@pytest.mark.parametrize("change", WAYS)
def test_all_tokens_end_with_the_password_and_the_mail_says_so(alice: User, change: Change) -> None:
    _token, page_made = Token.objects.issue(owner=alice, name="Bitwarden")
    by_app = app_signs_in(alice)

    assert change(alice, TICKED).status_code == 302

    alice.refresh_from_db()
    assert alice.check_password(NEW)
    assert not works(page_made)
    assert not works(by_app)
    assert not Token.objects.live().exists()
    assert "All your tokens have been revoked. Password managers, apps and scripts need new ones." in told()
    _token, later = Token.objects.issue(owner=alice, name="new")
    assert works(later)


@pytest.mark.parametrize("change", WAYS)
def test_without_the_tick_what_apps_got_for_the_old_password_ends_all_the_same(
    alice: User, change: Change
) -> None:
    token, page_made = Token.objects.issue(owner=alice, name="Bitwarden")
    by_app = app_signs_in(alice)

    change(alice, {})

    assert works(page_made)
    assert not works(by_app)
    assert list(Token.objects.live()) == [token]
    assert (
        "Apps that signed in with the old password must sign in again. Your other tokens still work."
        in told()
    )
    assert works(app_signs_in(alice, NEW))


def test_the_tick_is_there_by_default_and_not_for_a_first_password(alice: User) -> None:
    pages = [signed_in(alice).get(CHANGE).content.decode()]
    alice.refresh_from_db()  # a link is good until the next sign-in
    pages.append(
        Client().get(password_link(alice).replace("http://localhost:8000", ""), follow=True).content.decode()
    )
    newcomer = User.objects.create_user("new@example.com")
    first = Client().get(password_link(newcomer).replace("http://localhost:8000", ""), follow=True)

    for page in pages:
        box = page[page.index('type="checkbox"') :].partition(">")[0]
        assert "checked" in box
        assert 'name="end_tokens"' in box
        assert "End all my tokens" in page
    assert "end_tokens" not in first.content.decode()


def test_a_refused_change_ends_nothing(alice: User) -> None:
    _token, secret = Token.objects.issue(owner=alice, name="Bitwarden")
    browser = signed_in(alice)

    browser.post(CHANGE, {"oldpassword": "wrong", "password1": NEW, "password2": NEW, **TICKED})

    assert works(secret)
    assert alice.check_password(OLD)


def test_other_sessions_end_and_the_one_that_changed_it_stays(alice: User) -> None:
    here, elsewhere = signed_in(alice), signed_in(alice)

    here.post(CHANGE, {"oldpassword": OLD, "password1": NEW, "password2": NEW, **TICKED})

    assert here.get("/aliases/").status_code == 200
    assert elsewhere.get("/aliases/").status_code == 302


def test_a_link_from_before_is_good_for_nothing_more(alice: User) -> None:
    link = password_link(alice).replace("http://localhost:8000", "")
    on_the_page(alice, {})

    assert "password1" not in Client().get(link, follow=True).content.decode()


@pytest.mark.parametrize("how", ["set_password", "changepassword", "deactivate"])
def test_a_password_that_is_changed_in_any_other_way_ends_what_apps_got(
    alice: User, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_app = app_signs_in(alice)
    if how == "set_password":
        alice.set_password(NEW)
        alice.save()
    elif how == "deactivate":
        alice.deactivate()
        alice.activate()
    else:
        monkeypatch.setattr("getpass.getpass", lambda prompt="": NEW)
        call_command("changepassword", alice.email)

    assert not works(by_app)


def code_of(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, int(timezone.now().timestamp()) // 30)))


def test_a_sign_in_that_waits_for_its_code_ends_with_the_old_password(alice: User) -> None:
    TOTP.activate(alice, secret := generate_totp_secret())
    thief = signed_in(alice)
    assert thief.get("/aliases/").status_code == 302
    alice.change_password(NEW, end_tokens=False)

    thief.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})

    assert thief.get("/aliases/").status_code == 302
    assert "_auth_user_id" not in thief.session


def test_a_sign_in_with_its_code_goes_on_where_nothing_changed(alice: User) -> None:
    TOTP.activate(alice, secret := generate_totp_secret())
    browser = signed_in(alice)

    browser.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})

    assert browser.get("/aliases/").status_code == 200


def test_a_key_that_waits_for_its_code_ends_with_the_old_password(alice: User) -> None:
    TOTP.activate(alice, secret := generate_totp_secret())
    body = {"email": alice.email, "password": OLD, "device": "phone"}
    key = APIClient().post("/api/auth/login", body, format="json").json()["mfa_key"]
    alice.change_password(NEW, end_tokens=False)

    answer = APIClient().post("/api/auth/mfa", {"mfa_key": key, "mfa_token": code_of(secret)}, format="json")

    assert answer.status_code == 400
    assert not Token.objects.exists()


def test_a_token_that_was_asked_for_with_the_old_password_is_not_made(alice: User) -> None:
    """The password changes between its check and the token."""
    before = User.objects.get(pk=alice.pk)
    alice.change_password(NEW, end_tokens=True)

    with pytest.raises(OwnerChanged):
        Token.objects.issue(owner=before, name="x")

    assert not Token.objects.exists()


def test_a_hash_that_is_renewed_is_no_new_password(alice: User, settings: Settings) -> None:
    by_app = app_signs_in(alice)
    User.objects.filter(pk=alice.pk).update(password=make_password(OLD))
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]
    user = User.objects.get(pk=alice.pk)
    changed = user.password_changed

    assert user.check_password(OLD)
    user.save()

    assert user.password.startswith("pbkdf2_")
    assert User.objects.get(pk=alice.pk).password_changed == changed
    assert works(by_app)


def test_a_mail_server_that_is_away_takes_nothing_back(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    _token, secret = Token.objects.issue(owner=alice, name="Bitwarden")
    browser = signed_in(alice)

    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("django.core.mail.message.EmailMessage.send", away)
    answer = browser.post(CHANGE, {"oldpassword": OLD, "password1": NEW, "password2": NEW, **TICKED})

    assert answer.status_code == 302
    assert not works(secret)


def test_a_first_password_ends_no_token_and_asks_nothing(alice: User) -> None:
    alice.set_password(None)
    alice.save()
    browser = Client()
    browser.force_login(alice)
    _token, secret = Token.objects.issue(owner=alice, name="Bitwarden")
    page = browser.get("/accounts/password/set/")

    browser.post("/accounts/password/set/", {"password1": NEW, "password2": NEW, **TICKED})

    assert page.status_code == 200
    assert "end_tokens" not in page.content.decode()
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    assert works(secret)
    assert "Your other tokens still work." in told()


def test_the_page_of_the_link_names_the_account(alice: User) -> None:
    link = password_link(alice).replace("http://localhost:8000", "")

    shown = Client().get(link, follow=True).content.decode()

    assert 'autocomplete="username" value="alice@example.com"' in shown
    assert shown.count('autocomplete="new-password"') == 2
