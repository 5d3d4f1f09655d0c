"""Sessions: what is left of them when somebody is gone."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.deletion import close_account
from accounts.models import User
from tests.rig.admin import act

pytestmark = pytest.mark.django_db

PASSWORD = "alice-password-1"


def sign_in(user: User, password: str = PASSWORD) -> Client:
    client = Client()
    client.post("/accounts/login/", {"login": user.email, "password": password})
    return client


def by_page(alice: User, root: User) -> None:
    browser = sign_in(alice)
    browser.post("/account/delete/", {"confirm": alice.email})


def by_admin(alice: User, root: User) -> None:
    boss = Client()
    boss.force_login(root)
    act(boss, "accounts_user", "delete_accounts", alice.pk, confirmed="yes")


def by_deactivating(alice: User, root: User) -> None:
    alice.deactivate()


WAYS = [by_page, by_admin, by_deactivating, lambda alice, root: close_account(alice)]


@pytest.mark.parametrize("way", WAYS, ids=["page", "admin", "deactivate", "verb"])
def test_nothing_is_left_of_a_persons_sessions(
    alice: User, mallory: User, root: User, way: Callable[[User, User], None]
) -> None:
    """The rows hold the address that somebody signed in with, and the network that it was from."""
    sign_in(alice)
    begun = User.objects.get(pk=alice.pk)
    other = sign_in(mallory, "mallory-password-1")
    assert begun.email in [
        word for row in Session.objects.all() for word in str(row.get_decoded()).split("'")
    ]

    way(alice, root)

    assert not any("alice@example.com" in str(row.get_decoded()) for row in Session.objects.all())
    assert not UserSession.objects.exclude(user__in=[mallory, root]).exists()
    assert other.get("/aliases/").status_code == 200


def test_a_sign_in_that_waits_for_its_second_factor_is_deleted_too(alice: User) -> None:
    TOTP.activate(alice, generate_totp_secret())
    sign_in(alice)
    assert Session.objects.count() == 1

    close_account(alice)

    assert not Session.objects.exists()


def test_where_somebody_signed_in_from_is_kept_no_longer_than_the_session(alice: User, mallory: User) -> None:
    """The package deletes these at the next sign-in of the same person, which may never come."""
    sign_in(alice).post("/accounts/logout/")
    over = sign_in(alice)
    Session.objects.filter(session_key=over.session.session_key).update(
        expire_date=timezone.now() - timedelta(hours=1)
    )
    still = sign_in(mallory, "mallory-password-1")

    call_command("prune_sessions")

    assert [row.user for row in UserSession.objects.all()] == [mallory]
    assert still.get("/aliases/").status_code == 200


def test_the_page_names_browsers_and_shows_this_one_first(alice: User) -> None:
    agents = (
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "<b>odd</b>",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/140.0.0.0 Safari/537.36",
    )
    browsers = [Client(headers={"User-Agent": agent}) for agent in agents]
    for browser in browsers:
        browser.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})

    shown = browsers[0].get("/accounts/sessions/").content.decode()

    names = re.findall(r"<strong>(.*?)</strong>", shown)
    assert names == ["Firefox on Linux", "Chrome on Windows", "unknown"]
    assert shown.count("This browser") == 1
    assert shown.index("This browser") < shown.index("Chrome on Windows")

    browsers[0].post("/accounts/sessions/")
    assert [browser.get("/aliases/").status_code for browser in browsers] == [200, 302, 302]
