"""Signing in with the password of a real directory (Debian's slapd)."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import time_machine
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import Identity, User
from aliases.issuing import issue
from core.audit import AuditEntry
from domains.models import Domain
from tests.conftest import missing
from tests.rig.directory import Server, serving, slapd
from tests.rig.pages import text_of
from tests.rig.takeover import is_in

pytestmark = pytest.mark.django_db

PASSWORD = "carols-own-password"
BACKENDS = ["accounts.backends.PrimaryAddressBackend", "accounts.organisation.ldap.DirectoryBackend"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if slapd() is None:
        missing("slapd, or requirements-ldap.txt,")
    with serving(tmp_path_factory.mktemp("directory")) as server:
        yield server


@pytest.fixture
def directory(running: Server, settings: Settings) -> Server:
    """The directory, in which carol is, and whose passwords sign people in."""
    settings.AUTHENTICATION_BACKENDS = BACKENDS
    settings.LDAP_DIRECTORY = running.settings()
    running.put_person("carol", PASSWORD, displayName="Carol Example")
    return running


def sign_in(email: str = "carol@example.com", password: str = PASSWORD, **fields: str) -> tuple[Client, Any]:
    client = Client()
    return client, client.post("/accounts/login/", {"login": email, "password": password, **fields})


def test_the_password_of_the_directory_makes_an_account_and_signs_in(directory: Server) -> None:
    client, answer = sign_in("Carol@EXAMPLE.com", next="/tokens/")

    carol = User.objects.get()
    assert answer["Location"] == "/tokens/"
    assert is_in(client)
    assert (carol.email, carol.name, carol.has_usable_password()) == (
        "carol@example.com",
        "Carol Example",
        False,
    )
    assert Identity.objects.get().issuer == "ldap"
    assert len(Identity.objects.get().subject) == 36  # entryUUID


def test_the_next_time_it_is_the_same_account(directory: Server) -> None:
    sign_in()
    client, _answer = sign_in()

    assert is_in(client)
    assert User.objects.count() == Identity.objects.count() == 1


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("carol@example.com", "wrong"),
        ("carol@example.com", ""),
        ("nobody@example.com", PASSWORD),
        ("*@example.com", PASSWORD),
        ("carol*@example.com", PASSWORD),
        ("carol@example.com)(uid=*", PASSWORD),
        ("carol@example.com\x00", PASSWORD),
    ],
)
def test_a_wrong_password_or_a_filter_in_its_place_signs_nobody_in(
    directory: Server, email: str, password: str
) -> None:
    client, answer = sign_in(email, password)

    assert answer.status_code == 200
    assert not is_in(client)
    assert not User.objects.exists()


def test_tries_are_limited_as_for_any_password(directory: Server) -> None:
    for _ in range(5):
        sign_in(password="wrong")

    client, answer = sign_in()

    assert "Too many attempts" in text_of(answer)
    assert not is_in(client)


def test_two_entries_with_one_address_sign_nobody_in(directory: Server) -> None:
    directory.put_person("twin", PASSWORD, mail="carol@example.com")
    client, _answer = sign_in()
    directory.put_person("twin", PASSWORD)

    assert not is_in(client)


def test_an_account_that_exists_is_taken_only_if_the_directory_vouches(
    directory: Server, settings: Settings, alice: User
) -> None:
    directory.put_person("alice", PASSWORD)
    client, refused = sign_in(alice.email)
    own, _answer = sign_in(alice.email, "alice-password-1")
    settings.LDAP_DIRECTORY = directory.settings(vouches_for=("example.com",))
    vouched, _answer = sign_in(alice.email)

    assert "There is an account with your e-mail address already." in text_of(refused)
    assert [is_in(browser) for browser in (client, own, vouched)] == [False, True, True]
    assert Identity.objects.get().user == alice


def test_an_alias_is_nobodys_address(directory: Server, alice: User) -> None:
    alias = issue(owner=alice)
    directory.put_person("carol", PASSWORD, mail=alias.address)

    client, answer = sign_in(alias.address)

    assert "cannot be used here" in text_of(answer)
    assert not is_in(client)


def test_groups_give_and_take_rights(
    directory: Server, settings: Settings, root: User, example_com: Domain
) -> None:
    settings.LDAP_DIRECTORY = directory.settings(admin_group="admins", manager_prefix="manages:")
    dn = f"uid=carol,{directory.settings().user_base}"
    directory.put_group("admins", dn)
    directory.put_group("manages:example.com", dn)
    sign_in()
    carol = User.objects.get(email="carol@example.com")
    had = (carol.is_superuser, carol.managed_domains.count())
    directory.put_group("admins")
    directory.put_group("manages:example.com")
    sign_in()
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


def test_the_second_factor_is_asked_for(directory: Server) -> None:
    sign_in()
    TOTP.activate(User.objects.get(), generate_totp_secret())

    client, answer = sign_in()

    assert answer["Location"].startswith("/accounts/2fa/authenticate/")
    assert not is_in(client)


def test_whoever_is_deactivated_stays_out_at_once(directory: Server) -> None:
    client, _answer = sign_in()
    User.objects.get().deactivate()
    again, _answer = sign_in()

    assert [is_in(browser) for browser in (client, again)] == [False, False]


def test_a_directory_that_is_down_leaves_the_other_passwords(
    directory: Server, settings: Settings, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    settings.LDAP_DIRECTORY = replace(directory.settings(), uri="ldap://127.0.0.1:1")

    client, answer = sign_in()
    own, _answer = sign_in(alice.email, "alice-password-1")

    assert answer.status_code == 200
    assert [is_in(browser) for browser in (client, own)] == [False, True]
    assert "the directory failed" in caplog.text
    assert "carol@" not in caplog.text


def test_it_works_without_passwords_of_this_site(directory: Server, settings: Settings, alice: User) -> None:
    settings.LOCAL_PASSWORDS = False
    page = Client().get("/accounts/login/")
    client, _answer = sign_in()
    own, _answer = sign_in(alice.email, "alice-password-1")

    assert 'name="password"' in page.content.decode()
    assert "forgot" not in text_of(page)
    assert "passkey" not in page.content.decode()
    assert [is_in(browser) for browser in (client, own)] == [True, False]


def test_apps_sign_in_with_it_too(directory: Server, settings: Settings) -> None:
    settings.LOCAL_PASSWORDS = False
    login = {"email": "carol@example.com", "password": PASSWORD, "device": "phone"}

    right = APIClient().post("/api/auth/login", login, format="json")
    settings.LDAP_DIRECTORY = directory.settings(new_people=())
    directory.put_person("dave", PASSWORD)
    refused = APIClient().post("/api/auth/login", login | {"email": "dave@example.com"}, format="json")

    assert right.json()["api_key"]
    assert (refused.status_code, "You have no account here" in refused.json()["error"]) == (403, True)


def test_it_confirms_a_sign_in(directory: Server) -> None:
    client, _answer = sign_in()
    with time_machine.travel(time.time() + 3600):
        asked = client.get("/tokens/new/")
        wrong = client.post("/accounts/reauthenticate/", {"password": "wrong"})
        still = client.get("/tokens/new/")
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        after = client.get("/tokens/new/")

    assert asked["Location"].startswith("/accounts/reauthenticate/")
    assert (wrong.status_code, still.status_code, after.status_code) == (200, 302, 200)


def test_it_lasts_a_day_unless_it_is_confirmed(directory: Server) -> None:
    client, _answer = sign_in(remember="on")
    other, _answer = sign_in(remember="on")
    start = time.time()
    with time_machine.travel(start + 12 * 3600):
        client.get("/tokens/new/")
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    with time_machine.travel(start + 25 * 3600):
        assert [is_in(browser) for browser in (client, other)] == [True, False]
