"""Whom a trusted proxy names in its headers is signed in, and nobody else can name anybody."""

import time
from typing import Any

import pytest
import time_machine
from django.test import Client
from pytest_django import Settings

from accounts.models import Identity, User
from accounts.organisation.sources import TrustedProxy
from aliases.issuing import issue
from core.audit import AuditEntry
from domains.models import Domain
from tests.rig.pages import text_of
from tests.rig.takeover import is_in

pytestmark = pytest.mark.django_db

CAROL = {"Remote-User": "carol", "Remote-Email": "carol@example.com", "Remote-Name": "Carol"}


def proxy(**beliefs: Any) -> TrustedProxy:
    known: dict[str, Any] = {
        "key": "proxy",
        "name": "Proxy",
        "issuer": "proxy",
        "user_header": "Remote-User",
        "email_header": "Remote-Email",
        "name_header": "Remote-Name",
        "groups_header": "Remote-Groups",
        "new_people": ("example.com",),
        "trusts_addresses": True,
    }
    return TrustedProxy(**(known | beliefs))


def trust(settings: Settings, **beliefs: Any) -> None:
    settings.TRUSTED_PROXY = proxy(**beliefs)
    settings.PROXY_SIGN_IN_HEADERS = settings.TRUSTED_PROXY.meta_names


@pytest.fixture(autouse=True)
def _trusted(settings: Settings) -> None:
    trust(settings)
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]


def through(headers: dict[str, str], peer: str = "10.0.0.1") -> Client:
    """A browser whose requests come through the proxy at `peer`, with its headers."""
    return Client(headers=headers, REMOTE_ADDR=peer)


def test_whom_the_proxy_names_is_signed_in_with_a_new_account() -> None:
    browser = through(CAROL)

    answer = browser.get("/tokens/", follow=True)

    carol = User.objects.get()
    assert answer.redirect_chain[-1][0] == "/tokens/"
    assert (answer.status_code, carol.email, carol.name) == (200, "carol@example.com", "Carol")
    assert Identity.objects.get().subject == "carol"
    assert is_in(through(CAROL)) is False  # not before it asks for the sign-in page
    assert User.objects.count() == 1


@pytest.mark.parametrize("peer", ["192.0.2.1", "127.0.0.1", "::1", ""])
def test_nobody_else_is_believed(peer: str) -> None:
    browser = through(CAROL | {"X-Forwarded-For": "10.0.0.1"}, peer)

    page = browser.get("/accounts/login/")

    assert page.status_code == 200
    assert 'name="password"' in page.content.decode()
    assert not User.objects.exists()


def test_no_header_counts_while_there_is_no_such_setting(settings: Settings, root: User) -> None:
    settings.TRUSTED_PROXY, settings.PROXY_SIGN_IN_HEADERS = None, ()

    browser = through({"Remote-User": "root", "Remote-Email": root.email})

    assert browser.get("/accounts/login/").status_code == 200
    assert not is_in(browser)


def test_an_account_that_exists_is_the_persons_only_if_the_proxy_vouches(
    settings: Settings, alice: User
) -> None:
    headers = {"Remote-User": "alice", "Remote-Email": alice.email}
    refused = through(headers).get("/accounts/login/")
    trust(settings, vouches_for=("example.com",))
    (browser := through(headers)).get("/accounts/login/")

    assert refused.status_code == 403
    assert "There is an account with your e-mail address already." in text_of(refused)
    assert is_in(browser)


@pytest.mark.parametrize(
    "headers",
    [
        {"Remote-User": "carol, root"},
        {"Remote-User": "carol\x07"},
        {"Remote-User": "c" * 300},
        {"Remote-User": " x  y"},
        {"Remote-Email": "carol@example.com, root@admin.test"},
        {"Remote-Email": ""},
        {"Remote-Email": "carol@evil.test"},
        {"Remote-Email": "\xff\xfe@example.com"},
    ],
)
def test_headers_that_name_nobody_for_certain_sign_nobody_in(headers: dict[str, str]) -> None:
    answer = through(CAROL | headers).get("/accounts/login/")

    assert answer.status_code == 403
    assert not User.objects.exists()


def test_an_alias_is_nobodys_address(alice: User) -> None:
    alias = issue(owner=alice)

    answer = through(CAROL | {"Remote-Email": alias.address}).get("/accounts/login/")

    assert answer.status_code == 403
    assert User.objects.get() == alice


def test_groups_give_and_take_rights(settings: Settings, root: User, example_com: Domain) -> None:
    trust(settings, admin_group="admins", manager_prefix="manages:")
    through(CAROL | {"Remote-Groups": "staff, admins,manages:example.com"}).get("/accounts/login/")
    carol = User.objects.get(email="carol@example.com")
    had = (carol.is_superuser, carol.managed_domains.count())
    through(CAROL | {"Remote-Groups": "staff"}).get("/accounts/login/")
    carol.refresh_from_db()

    assert had == (True, 1)
    assert (carol.is_superuser, carol.managed_domains.count()) == (False, 0)
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        "identity.create_user",
        "admin.give",
        "manager.give",
        "admin.take",
        "manager.take",
    ]


def test_the_session_ends_when_the_proxy_names_nobody_or_somebody_else() -> None:
    browser = through(CAROL)
    browser.get("/accounts/login/")
    stays = is_in(browser)
    cookies = browser.cookies
    other = through({"Remote-User": "dave", "Remote-Email": "dave@example.com"})
    other.cookies = cookies
    swapped = other.get("/account/")
    browser = through(CAROL)
    browser.get("/accounts/login/")
    bare = through({})
    bare.cookies = browser.cookies

    assert stays
    assert swapped["Location"].startswith("/accounts/login/")
    assert not is_in(bare)


def test_a_session_by_password_has_nothing_to_do_with_the_headers(alice: User) -> None:
    browser = through({})
    browser.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})

    assert is_in(browser)


def test_whoever_is_deactivated_stays_out() -> None:
    through(CAROL).get("/accounts/login/")
    User.objects.get().deactivate()

    answer = through(CAROL).get("/accounts/login/")

    assert answer["Location"] == "/accounts/inactive/"


def test_the_api_takes_no_such_header() -> None:
    assert through(CAROL).get("/api/user_info").status_code == 401


@pytest.mark.parametrize("away", ["https://evil.test/", "//evil.test/"])
def test_nobody_is_sent_elsewhere(away: str) -> None:
    assert through(CAROL).get("/accounts/login/", {"next": away})["Location"] == "/aliases/"


def test_a_header_with_an_underscore_does_not_stand_for_the_proxys() -> None:
    """WSGI cannot tell them apart, so the web server must drop the client's `Remote_User`."""
    from waitress.adjustments import Adjustments
    from waitress.parser import HTTPRequestParser

    parser = HTTPRequestParser(Adjustments())
    parser.received(b"GET / HTTP/1.1\r\nHost: x\r\nRemote_User: root\r\nX-Other: y\r\n\r\n")

    assert parser.headers.get("X_OTHER") == "y"
    assert "REMOTE_USER" not in parser.headers


def test_once_a_day_rights_are_read_anew_without_a_word(settings: Settings, root: User) -> None:
    trust(settings, admin_group="admins")
    browser = through(CAROL | {"Remote-Groups": "admins"})
    browser.get("/accounts/login/")
    browser.defaults |= {"HTTP_REMOTE_GROUPS": "staff"}
    within = browser.get("/admin/").status_code
    with time_machine.travel(time.time() + 25 * 3600):
        page = browser.get("/tokens/", follow=True)
        after = browser.get("/admin/").status_code

    assert page.status_code == 200
    assert page.redirect_chain[-1][0] == "/tokens/"
    assert (within, after) == (200, 302)
