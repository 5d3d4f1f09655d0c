"""What happens at the same moment, on PostgreSQL: threads with a connection each."""

import threading
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest
from allauth.account.models import EmailAddress
from django.db import connection, connections
from pytest_django import Settings

from accounts.models import User
from aliases import naming
from aliases.exceptions import DestinationForbidden
from aliases.issuing import issue
from aliases.models import Alias
from core.ratelimit import Counter
from domains.models import Domain
from mailboxes.changing import remove_address
from tests.conftest import Api
from tests.rig.at_once import all_at_once, outcomes

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def issuing(owner: User, **wishes: Any) -> Callable[[], Alias]:
    return lambda: issue(owner=owner, **wishes)


@pytest.fixture
def four_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "words", lambda: ("red", "green", "blue", "grey"))


@pytest.fixture
def no_limits(settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = settings.ALIASES_PER_DAY = 100_000


@pytest.mark.parametrize(("whose", "each"), [("of eight users", 200), ("of one user", 50)])
def test_eight_threads_in_a_tiny_namespace_make_no_address_twice_and_never_fail(
    example_com: Domain, four_words: None, no_limits: None, whose: str, each: int
) -> None:
    users = [User.objects.create_user(f"user{number}@example.com") for number in range(8)]
    if whose == "of one user":
        users = users[:1] * 8

    def many(owner: User) -> Callable[[], list[str]]:
        return lambda: [issue(owner=owner, hostname="github.com").address for _ in range(each)]

    made = all_at_once([many(user) for user in users])

    assert [len(addresses) for addresses in made] == [each] * 8, made
    assert len({address for addresses in made for address in addresses}) == 8 * each
    assert Alias.objects.count() == 8 * each
    # the tiny namespace was used up, so there were collisions
    assert Alias.objects.filter(address__regex=r"^github\.[a-z]+@").count() == 4
    assert Alias.objects.filter(address__regex=r"^github\.[a-z]+\.[a-z]+@").count() == 16


def test_the_limit_of_creations_is_exact(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 50

    def several() -> list[Any]:
        results = []
        for _ in range(5):
            try:
                results.append(issue(owner=alice))
            except Exception as error:
                results.append((type(error).__name__, str(error)))
        return results

    results = sum(all_at_once([several] * 16), [])

    assert outcomes(results) == {"alias": 50, "RateLimited": 30}
    assert Alias.objects.count() == 50
    assert set(Counter.objects.values_list("count", flat=True)) == {50}


def test_the_quota_is_exact(alice: User, example_com: Domain) -> None:
    Domain.objects.filter(pk=example_com.pk).update(alias_quota=10)

    results = all_at_once([issuing(alice)] * 16)

    assert outcomes(results) == {"alias": 10, "QuotaReached": 6}
    assert Alias.objects.count() == 10


@pytest.mark.parametrize("counted", ["counters running", "counters pruned"])
def test_the_quota_is_exact_for_restoring_and_making_together(
    alice: User, example_com: Domain, counted: str
) -> None:
    for _round in range(5):
        deleted = [issue(owner=alice) for _ in range(8)]
        for alias in deleted:
            alias.soft_delete()
        if counted == "counters pruned":
            Counter.objects.all().delete()
        Domain.objects.filter(pk=example_com.pk).update(alias_quota=3)

        deeds = [
            Alias.objects.select_related("owner", "domain").get(pk=alias.pk).restore for alias in deleted
        ]
        results = all_at_once([*deeds, *[issuing(alice)] * 8])

        refused = Tally(result[0] for result in results if isinstance(result, tuple))
        assert refused == {"QuotaReached": 13}
        assert Alias.objects.present().count() == 3
        Domain.objects.filter(pk=example_com.pk).update(alias_quota=None)
        Alias.objects.all().strip()


def test_parallel_creations_of_one_user_below_the_limit_all_succeed(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 16

    results = all_at_once([issuing(alice, hostname="github.com")] * 16)

    assert outcomes(results) == {"alias": 16}


def test_the_same_name_at_the_same_moment_goes_to_one_and_the_other_gets_a_wider_one(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "words", lambda: ("red",))
    bob = User.objects.create_user("bob@example.com")

    results = all_at_once([issuing(alice, hostname="github.com"), issuing(bob, hostname="github.com")])

    assert sorted(alias.address for alias in results) == [
        "github.red.red@example.com",
        "github.red@example.com",
    ]


@pytest.mark.parametrize("times", [7, 8])
def test_toggles_at_the_same_moment_all_count(alice: User, times: int) -> None:
    alias = issue(owner=alice)

    all_at_once([Alias.objects.get(pk=alias.pk).toggle for _ in range(times)])

    alias.refresh_from_db()
    assert alias.enabled is (times % 2 == 0)


def test_destinations_set_at_the_same_moment_are_one_of_the_wishes(alice: User) -> None:
    alice.emailaddress_set.create(email="alice@home.test", verified=True)
    alias = issue(owner=alice)
    wishes = [["alice@home.test"], ["alice@example.com"], ["alice@example.com", "alice@home.test"]]

    def choose(wish: list[str]) -> Callable[[], None]:
        copy = Alias.objects.get(pk=alias.pk)
        return lambda: copy.set_destinations(wish)

    results = all_at_once([choose(wish) for wish in wishes * 4])

    assert results == [None] * 12
    kept = [address.email for address in Alias.objects.get(pk=alias.pk).destination_addresses]
    assert kept in wishes


def test_restoring_and_stripping_at_the_same_moment_leave_one_of_the_two(alice: User) -> None:
    for _round in range(30):
        alias = issue(owner=alice)
        alias.soft_delete()

        restored, stripped = all_at_once([alias.restore, Alias.objects.filter(pk=alias.pk).deleted().strip])

        kept = Alias.objects.get(pk=alias.pk)
        assert (restored is None) == (stripped == 0) == (kept.owner == alice) == (not kept.is_deleted)
        assert len(kept.destination_addresses) == (0 if kept.is_deleted else 1)


def test_a_grant_given_twice_at_the_same_moment_is_one(alice: User, other_org: Domain) -> None:
    results = all_at_once([lambda: other_org.grant(alice)] * 8)

    assert len(set(results)) == 1
    assert other_org.grants.count() == 1


def test_a_destination_that_goes_away_in_the_same_moment_is_refused_in_words(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL looks at foreign keys at the commit, after everything was in order."""
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    write_links = Alias.link_to

    def remove() -> None:
        remove_address(alice, home)
        connections.close_all()

    def write_links_then_lose_one(alias: Alias, addresses: Sequence[EmailAddress]) -> None:
        write_links(alias, addresses)
        thread = threading.Thread(target=remove)
        thread.start()
        thread.join(20)

    monkeypatch.setattr(Alias, "link_to", write_links_then_lose_one)

    with pytest.raises(DestinationForbidden, match="was removed just now"):
        issue(owner=alice, destinations=["alice@home.test"])

    assert not Alias.objects.exists()
    assert not EmailAddress.objects.filter(pk=home.pk).exists()


@pytest.mark.parametrize(
    ("path", "body", "quota"),
    [
        ("/api/alias/random/new", {}, None),
        ("/api/alias/random/new", {}, 10),
        ("/api/v2/alias/custom/new", {"alias_prefix": "x", "signed": True}, None),
        ("/api/v1/aliases", {"domain": "example.com", "format": "custom", "local_part": "x"}, None),
    ],
)
def test_a_create_that_waits_too_long_for_another_is_asked_to_try_again(
    alice: User,
    example_com: Domain,
    api: Api,
    path: str,
    body: dict[str, Any],
    quota: int | None,
) -> None:
    Domain.objects.update(alias_quota=quota)
    client = api(alice)
    if body.pop("signed", False):
        suffixes = client.get("/api/v5/alias/options").json()["suffixes"]
        body["signed_suffix"] = suffixes[0]["signed_suffix"]
    assert client.post("/api/alias/random/new").status_code == 201
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '300ms'")
    values = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    with psycopg.connect(**{name: values[name] for name in names if name in values}) as other:
        other.execute("SELECT * FROM core_counter FOR UPDATE")
        waited = client.post(path, body, format="json")
    after = client.post(path, body, format="json")
    with connection.cursor() as cursor:
        cursor.execute("RESET lock_timeout")

    assert (waited.status_code, "Retry-After" in waited.headers) == (503, True)
    assert after.status_code == 201
