"""Which keys open the API, how often one may be wrong, and what a wrong one costs."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from core.ratelimit import Counter
from tokens.models import Token
from tokens.scopes import EVERYTHING

pytestmark = pytest.mark.django_db

INFO = "/api/user_info"


@pytest.fixture
def secret(alice: User) -> str:
    return Token.objects.issue(owner=alice, name="tests", scopes=EVERYTHING)[1]


def ask(key: str, header: str = "Authentication", **extra: Any) -> Any:
    return Client().get(INFO, headers={header: key}, **extra)


@pytest.mark.parametrize(
    "written",
    [
        "{email}:{secret}",
        "ALICE@Example.COM:{secret}",
        "{quoted}:{secret}",
        "{quoted}%3A{secret}",
        "  {email}:{secret}  ",
        "{secret}",
        "home%40b%C3%BCcher.example:{secret}",
        "home@xn--bcher-kva.example:{secret}",
        # as octets in UTF-8, which WSGI shows as Latin-1, and as Latin-1 itself
        "home@bÃ¼cher.example:{secret}",
        "HOME@BÜCHER.example:{secret}",
    ],
)
@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        ("Authentication", ""),
        ("Authentication", "Bearer "),
        ("Authentication", "bearer "),
        ("Authorization", "Bearer "),
        ("Authorization", "bearer "),
    ],
)
def test_a_key_is_understood_as_clients_write_it(
    alice: User, secret: str, written: str, header: str, scheme: str
) -> None:
    EmailAddress.objects.create(user=alice, email="home@xn--bcher-kva.example", verified=True)
    key = written.format(email=alice.email, quoted=quote(alice.email, safe=""), secret=secret)

    assert ask(scheme + key, header).json()["email"] == alice.email


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
def test_another_scheme_is_no_key(alice: User, secret: str, scheme: str) -> None:
    assert ask(f"{scheme} {alice.email}:{secret}", "Authorization").status_code == 401


def test_authentication_goes_before_authorization(alice: User, secret: str) -> None:
    answers = [
        Client().get(INFO, headers={"Authentication": own, "Authorization": f"Bearer {standard}"})
        for own, standard in [(secret, "x" * 48), ("x" * 48, secret), (" ", secret)]
    ]

    assert [answer.status_code for answer in answers] == [200, 401, 200]


def test_keys_go_on_working_when_the_primary_address_changes(alice: User, secret: str) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    home.set_as_primary()

    assert ask(f"alice@example.com:{secret}").json()["email"] == "alice@home.test"
    assert ask(f"alice@home.test:{secret}").status_code == 200


def test_a_session_does_nothing_under_api(alice: User, client: Client) -> None:
    client.force_login(alice)

    assert client.get("/aliases/").status_code == 200
    assert client.get(INFO).status_code == 401
    assert client.get(INFO, headers={"X-Sl-Allowcookies": "true"}).status_code == 401
    assert client.post("/api/alias/random/new").status_code == 401


def test_a_token_opens_no_page(alice: User, secret: str) -> None:
    for header in ("Authentication", "Authorization"):
        answer = Client().get("/aliases/", headers={header: f"Bearer {alice.email}:{secret}"})
        assert answer.status_code == 302


def test_a_token_works_from_its_networks_alone(alice: User, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    _token, bound = Token.objects.issue(owner=alice, name="x", networks=["192.0.2.0/24", "2001:db8::/32"])
    key = f"{alice.email}:{bound}"

    assert ask(key, REMOTE_ADDR="192.0.2.9").status_code == 200
    assert ask(key, REMOTE_ADDR="2001:db8::1").status_code == 200
    assert ask(key, REMOTE_ADDR="::ffff:192.0.2.9").status_code == 200
    assert ask(key, HTTP_X_FORWARDED_FOR="192.0.2.9").status_code == 200
    assert ask(key, HTTP_X_FORWARDED_FOR="192.0.2.9, 198.51.100.1").status_code == 401
    assert ask(key, REMOTE_ADDR="198.51.100.1").status_code == 401
    assert ask(key, REMOTE_ADDR="").status_code == 401


def test_the_last_use_is_written_at_most_once_a_minute(alice: User, secret: str) -> None:
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        ask(secret)
    with time_machine.travel(start + timedelta(seconds=59), tick=False):
        ask(secret)
    assert Token.objects.get().last_used == start
    with time_machine.travel(start + timedelta(seconds=60), tick=False):
        ask(secret)

    assert Token.objects.get().last_used == start + timedelta(seconds=60)


def statements(key: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert ask(key).status_code == 401
    return [re.split("WHERE|VALUES|unnest", query["sql"])[0] for query in queries]


def test_a_wrong_token_and_an_unknown_user_cost_the_same(alice: User, secret: str) -> None:
    """No timing tells whether an account exists: the same statements, in the same order."""
    wrong_token = statements(f"{alice.email}:{'x' * 48}")
    unknown_user = statements(f"nobody@example.com:{'x' * 48}")
    wrong_user = statements(f"nobody@example.com:{secret}")

    assert len(wrong_token) == 3
    assert wrong_token == unknown_user == wrong_user


def test_others_failures_never_shut_out_a_valid_key(alice: User, secret: str, settings: Settings) -> None:
    settings.AUTH_FAILURES_PER_ACCOUNT_PER_HOUR = 3
    statuses = [ask(f"{alice.email}:{'x' * 48}").status_code for _ in range(20)]

    assert statuses == [401] * 3 + [429] * 17
    assert ask(f"{alice.email}:{secret}").status_code == 200
    assert ask(f"{alice.email}:{'y' * 48}").status_code == 429


def test_a_valid_key_works_after_a_thousand_failures_from_its_own_network(alice: User, secret: str) -> None:
    wrong = f"{alice.email}:{'x' * 48}"
    ask(wrong)
    Counter.objects.update(count=1000)

    assert ask(wrong).status_code == 429
    assert [ask(key).status_code for key in (secret, f"{alice.email}:{secret}")] == [200, 200]
    # success is no reason to forget the failures
    assert ask(wrong).status_code == 429


def test_failures_are_counted_per_address_and_end_after_an_hour(alice: User, settings: Settings) -> None:
    settings.AUTH_FAILURES_PER_ADDRESS_PER_HOUR = 2
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        for number in range(2):
            assert ask(f"user{number}@example.com:{'x' * 48}").status_code == 401
        refused = ask(f"user3@example.com:{'x' * 48}")
        elsewhere = ask(f"user3@example.com:{'x' * 48}", REMOTE_ADDR="192.0.2.1")
    with time_machine.travel(start + timedelta(hours=1, seconds=1), tick=False):
        later = ask(f"user3@example.com:{'x' * 48}")

    assert (refused.status_code, refused["Retry-After"]) == (429, "3600")
    assert refused.json() == {"error": "Too many wrong API keys. Correct the key and try again later."}
    assert elsewhere.status_code == 401
    assert later.status_code == 401


def test_an_ipv6_subscriber_is_one_client(alice: User, settings: Settings) -> None:
    settings.AUTH_FAILURES_PER_ADDRESS_PER_HOUR = 2

    def fail(address: str) -> int:
        return int(ask(f"{address[-4:]}@example.com:{'x' * 48}", REMOTE_ADDR=address).status_code)

    same = [fail(f"2001:db8:1:2::{number}") for number in range(1, 4)]
    other = fail("2001:db8:1:3::1")

    assert same == [401, 401, 429]
    assert other == 401


def test_a_missing_key_is_no_failed_attempt(db: None, settings: Settings) -> None:
    settings.AUTH_FAILURES_PER_ADDRESS_PER_HOUR = 1

    assert {Client().get(INFO).status_code for _ in range(5)} == {401}
    assert not Counter.objects.exists()


def test_the_counters_name_nobody(alice: User) -> None:
    ask(f"{alice.email}:{'x' * 48}", REMOTE_ADDR="192.0.2.77")

    for row in Counter.objects.values():
        assert "alice" not in str(row)
        assert "192.0.2" not in str(row)


@pytest.mark.parametrize("key", ["{email}:{secret}", "{email}:wrong-token"])
def test_with_the_database_away_nobody_is_blamed(
    alice: User, secret: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise OperationalError("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr("core.db.compiled.CompiledQuery.__call__", away)
        patch.setattr("core.ratelimit.hitting", away)
        answer = ask(key.format(email=alice.email, secret=secret))

    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert answer.json() == {"error": "The service is not available for a moment. Try again shortly."}
    assert not Counter.objects.exists()


@pytest.mark.parametrize("key", ["{email}:{secret}", "{secret}"])
def test_a_database_that_goes_away_after_the_look_up_blames_nobody(
    alice: User, secret: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr("tokens.models.Token.note_use", away)
        answer = ask(key.format(email=alice.email, secret=secret))

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert not Counter.objects.exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"destination": "mallory@evil.test"}, 403),
        ({"destination": "nonsense"}, 400),
        ({"domain": "unknown.test"}, 404),
        ({"note": "x" * 10_001}, 400),
    ],
)
def test_a_refused_creation_is_not_counted(
    alice: User, api: Callable[[User], Any], settings: Settings, body: dict[str, str], status: int
) -> None:
    settings.ALIASES_PER_HOUR = 1
    client = api(alice)
    create = "/api/alias/random/new"

    refused = [client.post(create, body, format="json").status_code for _ in range(3)]

    assert refused == [status] * 3
    assert [client.post(create).status_code for _ in range(2)] == [201, 429]


def test_the_wait_is_told_in_seconds_and_in_words(
    alice: User, api: Callable[[User], Any], settings: Settings
) -> None:
    settings.ALIASES_PER_HOUR, settings.ALIASES_PER_DAY = 5, 1
    client, start = api(alice), timezone.now()
    with time_machine.travel(start, tick=False):
        client.post("/api/alias/random/new")
    with time_machine.travel(start + timedelta(hours=22, seconds=1), tick=False):
        answer = client.post("/api/alias/random/new")

    assert (answer.status_code, answer["Retry-After"]) == (429, "7199")
    assert answer.json() == {"error": "You have created too many aliases for now. Try again in 120 minutes."}


def test_limits_of_creation_are_exact_and_each_users_own(
    alice: User, root: User, api: Callable[[User], Any], settings: Settings
) -> None:
    settings.ALIASES_PER_HOUR, settings.ALIASES_PER_DAY = 3, 5
    client, start = api(alice), timezone.now()

    def create(after: timedelta, number: int) -> list[int]:
        with time_machine.travel(start + after, tick=False):
            return [client.post("/api/alias/random/new").status_code for _ in range(number)]

    assert create(timedelta(), 5) == [201, 201, 201, 429, 429]
    assert create(timedelta(minutes=59), 1) == [429]
    assert create(timedelta(hours=1), 3) == [201, 201, 429]
    assert create(timedelta(hours=23), 1) == [429]
    assert create(timedelta(hours=24), 1) == [201]
    assert api(root).post("/api/alias/random/new?domain=example.com").status_code == 201


def test_an_account_is_counted_once_however_it_is_written(alice: User) -> None:
    for written in (
        "alice@example.com",
        "ALICE@example.com",
        "%61lice%40example.com",
        "al%69ce@ex%61mple.com",
    ):
        ask(f"{written}:{'x' * 48}")

    assert [row.count for row in Counter.objects.filter(scope="auth-account")] == [4]


def test_a_client_over_its_limit_writes_no_more_rows(alice: User, settings: Settings) -> None:
    """Each with another account's address: a row for each would be the stranger's to make without end."""
    settings.AUTH_FAILURES_PER_ADDRESS_PER_HOUR = 10

    answers = [ask(f"person{number}@example.com:{'x' * 48}").status_code for number in range(100)]

    assert answers == [401] * 10 + [429] * 90
    assert Counter.objects.count() == 11
