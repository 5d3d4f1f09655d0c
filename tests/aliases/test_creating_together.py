"""Creations that threads of a process write in one transaction: one bad one hurts only itself."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import psycopg
import pytest
from allauth.account.models import EmailAddress
from django.db import connection, connections
from pytest_django import Settings

from accounts.models import User
from aliases import issuing, naming
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias
from core.batch_writer import BatchWriter
from core.ratelimit import Counter, hide
from domains.models import Domain
from tests.rig.at_once import all_at_once, outcomes
from tests.rig.mail_process import is_soon

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

Deed = Callable[[], Alias]


@pytest.fixture
def people(example_com: Domain) -> list[User]:
    return [User.objects.create_user(f"user{number}@example.com") for number in range(8)]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many creations each transaction was for."""
    sizes: list[int] = []

    def write_all(every: Sequence[Any]) -> None:
        sizes.append(len(every))
        issuing.insert_all(every)

    monkeypatch.setattr(issuing._inserter, "write_all", write_all)
    return sizes


def issuing_for(owner: User, **wishes: Any) -> Deed:
    return lambda: issue(owner=owner, **wishes)


def together(deeds: Sequence[Deed], *others: Callable[[], Any]) -> list[Any]:
    """What each deed returned or raised, where all of them wait for one that is being written; then what
    others did meanwhile."""
    writer = issuing._inserter
    writer._is_busy = True

    def begin() -> None:
        assert is_soon(lambda: len(writer._waiting) == len(deeds))
        writer._waiting[0].wake.set()

    with mock.patch.object(writer, "patience", None):
        return all_at_once([*deeds, *others, begin])[:-1]


def test_whoever_waits_for_another_creation_leaves_the_connection_to_others(
    people: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_back = issuing._inserter.before_waiting
    assert give_back
    kept: list[tuple[bool, bool]] = []

    def give_back_and_look() -> None:
        had_one = connections["default"].connection is not None
        give_back()
        kept.append((had_one, connections["default"].connection is not None))

    monkeypatch.setattr(issuing._inserter, "before_waiting", give_back_and_look)

    made = together([issuing_for(user) for user in people])

    assert outcomes(made) == {"alias": 8}
    assert kept == [(True, False)] * 8


def counted(owner: User) -> list[int]:
    return list(Counter.objects.filter(key=hide(owner.pk)).values_list("count", flat=True))


def test_those_that_wait_are_written_in_one_transaction_each_with_what_is_its_own(
    people: list[User], batches: list[int]
) -> None:
    made = together([issuing_for(user, note=f"for {user.pk}") for user in people])

    assert batches == [8]
    for user, alias in zip(people, made, strict=True):
        kept = Alias.objects.get(owner=user)
        assert (kept.pk, kept.address, kept.note) == (alias.pk, alias.address, f"for {user.pk}")
        for each in (alias, kept):
            assert [address.email for address in each.destination_addresses] == [user.email]
        assert counted(user) == [1, 1]


def test_a_name_that_several_want_goes_to_one_and_counts_once_for_each(
    people: list[User], batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "words", lambda: ("red",))

    made = together([issuing_for(user, hostname="github.com") for user in people[:3]])

    assert outcomes(made) == {"alias": 3}
    assert batches[0] == 3
    assert sum(alias.address == "github.red@example.com" for alias in made) == 1
    assert [counted(user) for user in people[:3]] == [[1, 1]] * 3


def test_addresses_are_inserted_in_a_fixed_order_so_that_no_two_transactions_wait_for_each_other(
    people: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    inserted: list[list[str]] = []
    insert = issuing.inserting_unless_present

    def insert_and_note(aliases: Sequence[Alias], field: Any, **more: Any) -> Any:
        inserted.append([alias.address for alias in aliases])
        return insert(aliases, field, **more)

    monkeypatch.setattr(issuing, "inserting_unless_present", insert_and_note)

    together([issuing_for(user) for user in people])

    (addresses,) = inserted
    assert len(addresses) == 8
    assert addresses == sorted(addresses)


def limit_is_reached(bad: User, settings: Settings) -> Deed:
    settings.ALIASES_PER_HOUR = 1
    issue(owner=bad)
    return issuing_for(bad)


def quota_is_reached(bad: User, settings: Settings) -> Deed:
    Domain.objects.create(name="small.example.com", anonmail_enabled=True, alias_quota=0).grant(bad)
    return issuing_for(bad, domain="small.example.com")


def destination_is_a_strangers(bad: User, settings: Settings) -> Deed:
    return issuing_for(bad, destinations=["user1@example.com"])


def destination_is_not_verified(bad: User, settings: Settings) -> Deed:
    EmailAddress.objects.filter(user=bad).update(verified=False)
    return issuing_for(bad)


def name_is_taken(bad: User, settings: Settings) -> Deed:
    issue_chosen(owner=User.objects.create_user("first@example.com"), prefix="mine")
    return lambda: issue_chosen(owner=bad, prefix="mine")


def name_is_an_own_address(bad: User, settings: Settings) -> Deed:
    return lambda: issue_chosen(owner=bad, prefix="user1")


@pytest.mark.parametrize(
    ("prepare", "refusal"),
    [
        (limit_is_reached, "RateLimited"),
        (quota_is_reached, "QuotaReached"),
        (destination_is_a_strangers, "DestinationForbidden"),
        (destination_is_not_verified, "DestinationForbidden"),
        (name_is_taken, "AddressTaken"),
        (name_is_an_own_address, "AddressTaken"),
    ],
)
def test_one_that_is_refused_is_refused_alone_and_counts_for_nothing(
    people: list[User], settings: Settings, prepare: Callable[[User, Settings], Deed], refusal: str
) -> None:
    bad, *others = people
    deed = prepare(bad, settings)
    before = {(row.scope, row.count) for row in Counter.objects.filter(key=hide(bad.pk))}
    aliases = Alias.objects.owned_by(bad).count()

    refused, *made = together([deed, *map(issuing_for, others)])

    assert refused[0] == refusal
    assert outcomes(made) == {"alias": 7}
    assert Alias.objects.owned_by(bad).count() == aliases
    after = {(row.scope, row.count) for row in Counter.objects.filter(key=hide(bad.pk), count__gt=0)}
    # What a chosen name reveals is counted apart.
    assert {row for row in after if row[0] != "taken-day"} == before
    assert [counted(user) for user in others] == [[1, 1]] * 7


def test_those_of_one_owner_take_turns_and_do_not_hold_up_others(
    people: list[User], batches: list[int], settings: Settings
) -> None:
    settings.ALIASES_PER_HOUR = 3
    greedy, *others = people[:4]

    results = together([*[issuing_for(greedy)] * 5, *map(issuing_for, others)])

    assert batches[0] == 4
    assert outcomes(results[5:]) == {"alias": 3}
    assert outcomes(results[:5]) == {"alias": 3, "RateLimited": 2}
    assert counted(greedy) == [3, 3]


@contextmanager
def another_connection() -> Iterator[psycopg.Connection[Any]]:
    values = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    with psycopg.connect(**{name: values[name] for name in names if name in values}) as other:
        yield other


def test_a_database_that_goes_away_in_the_middle_refuses_all_of_them_and_then_works_again(
    people: list[User], batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = issuing._complete

    def lose_the_connection_and_complete(*args: Any) -> bool:
        with another_connection() as other:
            key = connection.connection.info.backend_pid
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [key])
        return complete(*args)

    with monkeypatch.context() as patched:
        patched.setattr(issuing, "_complete", lose_the_connection_and_complete)
        results = together([issuing_for(user) for user in people])

    assert batches == [8]
    assert outcomes(results) == {"OperationalError": 8}
    assert not Alias.objects.exists()
    assert not Counter.objects.exists()
    assert outcomes(together([issuing_for(user) for user in people])) == {"alias": 8}


def test_one_that_waits_for_another_transaction_waits_alone(people: list[User]) -> None:
    late, *others = people
    issue(owner=late)
    made = threading.Event()

    def issue_soon(owner: User) -> Deed:
        def deed() -> Alias:
            alias = issue(owner=owner)
            if Alias.objects.filter(owner__in=others).count() == len(others):
                made.set()
            return alias

        return deed

    with another_connection() as other:
        other.execute("SELECT * FROM core_counter FOR UPDATE")

        def let_go() -> bool:
            others_were_made = made.wait(20)
            other.rollback()
            return others_were_made

        *results, others_were_made = together([*map(issue_soon, people)], let_go)

    assert others_were_made is True
    assert outcomes(results) == {"alias": 8}


def test_one_that_came_first_and_waits_for_another_transaction_holds_nobody_up(people: list[User]) -> None:
    late, *others = people
    issue(owner=late)
    others_were_made = threading.Event()

    def issue_for_others() -> list[Alias]:
        assert is_soon(lambda: issuing._inserter._is_busy)
        made = all_at_once([issuing_for(other) for other in others])
        others_were_made.set()
        return made

    with another_connection() as import_of_late:
        import_of_late.execute("SELECT * FROM core_counter FOR UPDATE")

        def let_go() -> bool:
            is_in_time = others_were_made.wait(10)
            import_of_late.rollback()
            return is_in_time

        first, made, is_in_time = all_at_once([issuing_for(late), issue_for_others, let_go])

    assert is_in_time is True
    assert outcomes([first, *made]) == {"alias": 8}
    assert counted(late) == [2, 2]
    assert issuing._inserter._waiting == []
    assert issuing._inserter._is_busy is False


@pytest.mark.parametrize("bound", ["limit", "quota"])
def test_thirty_two_threads_of_two_processes_keep_every_limit_and_make_no_address_twice(
    people: list[User], settings: Settings, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(naming, "words", lambda: ("red", "green"))
    if bound == "limit":
        settings.ALIASES_PER_HOUR = 15
    else:
        Domain.objects.update(alias_quota=15)
    # A process has one writer, and nothing else that creations of another would share.
    writers = [
        BatchWriter(
            issuing.insert_all,
            is_common=issuing._is_common,
            key=issuing._inserter.key,
            patience=issuing.LOCK_PATIENCE,
        )
        for _process in range(2)
    ]
    process = threading.local()

    class OfThisProcess:
        def write(self, new: Any) -> None:
            process.writer.write(new)

    monkeypatch.setattr(issuing, "_inserter", OfThisProcess())

    def several(owner: User, writer: Any) -> Callable[[], list[Any]]:
        def deed() -> list[Any]:
            process.writer = writer
            results: list[Any] = []
            for _ in range(5):
                try:
                    results.append(issue(owner=owner, hostname="github.com"))
                except Exception as error:
                    results.append((type(error).__name__, str(error)))
            return results

        return deed

    deeds = [several(owner, writer) for _ in range(2) for owner, writer in itertools.product(people, writers)]
    results = sum(all_at_once(deeds), [])

    refusal = "RateLimited" if bound == "limit" else "QuotaReached"
    assert outcomes(results) == {"alias": 8 * 15, refusal: 8 * 5}
    assert len({result.address for result in results if isinstance(result, Alias)}) == 8 * 15
    assert Alias.objects.count() == 8 * 15
    assert [counted(user) for user in people] == [[15, 15]] * 8
    assert {user.aliases.count() for user in people} == {15}
