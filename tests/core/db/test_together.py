"""Statements with which a transaction begins, in one message to PostgreSQL."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from aliases import issuing
from aliases.issuing import issue
from aliases.models import Alias
from core.db.statements import Rows
from core.db.together import Statement, run_together
from core.exceptions import RateLimited, RuleError
from core.lately import Lately
from core.ratelimit import Counter, Limit, counting, hide
from domains.models import Domain
from tests.rig.postgresql import run_as_owner

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

HOSTILE = ["", "100 % %s $1", "'; DROP TABLE core_counter; --", "ü€😀", "\\x", "NULL"]
COUNT = 'INSERT INTO core_counter (scope, "key", count, expires) VALUES (%s, %s, 1, now()) RETURNING count'


def rows_of(sql: str, *params: Any) -> Statement[Rows]:
    return Statement(sql, params, lambda rows: rows)


def fails() -> Statement[Rows]:
    return rows_of("SELECT 1 / %s::int", 0)


def refused(rows: Rows) -> None:
    raise RuleError("refused")


@pytest.fixture
def nobody_refused(monkeypatch: pytest.MonkeyPatch) -> Lately:
    lately = Lately(issuing.REFUSED_FOR)
    monkeypatch.setattr(issuing, "_refused", lately)
    return lately


def test_each_statement_has_its_own_rows_whatever_its_values_are(exchanged: list[int]) -> None:
    moment = datetime(2026, 11, 27, 13, 0, 0, 123456, tzinfo=UTC)

    for _ in range(3):  # prepared anew, and kept
        with transaction.atomic():
            found = run_together(
                *(rows_of("SELECT %s::text", value) for value in HOSTILE),
                rows_of("SELECT %s::timestamptz, %s::bigint, %s::bool", moment, 2**40, True),
                rows_of("SELECT %s::text IS NULL WHERE true", None),
                rows_of("SELECT 1 WHERE false"),
                rows_of("SELECT generate_series(1, 3)"),
            )

        assert found == [
            *([(value,)] for value in HOSTILE),
            [(moment, 2**40, True)],
            [(True,)],
            [],
            [(1,), (2,), (3,)],
        ]
    assert exchanged == [10] * 3


def test_more_than_the_network_takes_at_once_goes_through_in_both_directions() -> None:
    large = "x" * 20_000_000

    with transaction.atomic():
        found = run_together(*[rows_of("SELECT %s::text", large)] * 3, rows_of("SELECT 1"))

    assert found == [[(large,)]] * 3 + [[(1,)]]


def test_all_of_them_are_one_transaction_with_what_comes_after_them() -> None:
    with transaction.atomic():
        run_together(rows_of(COUNT, "a", "b"))
        assert Counter.objects.filter(scope="a").exists()
        transaction.set_rollback(True)
    assert not Counter.objects.exists()

    with transaction.atomic():
        run_together(rows_of(COUNT, "a", "b"))
        connection.savepoint_rollback(connection.savepoint())
        Counter.objects.create(scope="c", key="d", count=1, expires=datetime.now(UTC))
    assert Counter.objects.count() == 2


def test_the_error_of_one_is_raised_and_leaves_nothing_behind() -> None:
    taken: list[Rows] = []

    for _ in range(3):
        with pytest.raises(IntegrityError, match="counter_unique_key"), transaction.atomic():
            run_together(
                Statement(COUNT, ("a", "b"), taken.append),
                rows_of(COUNT, "a", "b"),
                rows_of("SELECT 1"),
            )
        assert not Counter.objects.exists()
    assert taken == [[(1,)]] * 3


def test_a_refusal_comes_before_the_error_of_a_later_statement() -> None:
    with pytest.raises(RuleError), transaction.atomic():
        run_together(Statement("SELECT 1", (), refused), fails())

    with pytest.raises(DataError), transaction.atomic():
        run_together(fails(), Statement("SELECT 1", (), refused))


@pytest.mark.parametrize("place", [0, 1])
def test_a_value_that_no_text_can_have_is_refused_and_hurts_no_connection(place: int) -> None:
    server = run_alone("SELECT pg_backend_pid()")

    statements = [rows_of("SELECT %s::text", "a"), rows_of("SELECT %s::text", "a")]
    statements[place] = rows_of("SELECT %s::text", "a\0b")

    with pytest.raises(DataError), transaction.atomic():
        run_together(*statements)

    assert run_alone("SELECT pg_backend_pid()") == server


def run_alone(sql: str) -> Any:
    with transaction.atomic():
        ((((value,),)),) = run_together(rows_of(sql))
    return value


@pytest.mark.parametrize(
    "forget",
    [
        lambda: connection.cursor().execute("DEALLOCATE ALL"),
        # psycopg has the server forget its statements after each of these.
        lambda: connection.connection.rollback(),
    ],
)
def test_statements_that_the_server_has_forgotten_are_prepared_again(forget: Callable[[], Any]) -> None:
    for number in range(4):
        run_alone(f"SELECT {number}")
        forget()
        with transaction.atomic():
            # One that it knows no more behind one that is new to it.
            found = run_together(rows_of(f"SELECT {number} + 10"), *[rows_of(f"SELECT {number}")] * 2)
        assert found == [[(number + 10,)], [(number,)], [(number,)]]


def test_statements_whose_rows_have_another_type_than_before_are_prepared_again() -> None:
    run_as_owner("CREATE TABLE much (text varchar(5))", "GRANT SELECT ON much TO PUBLIC")
    try:
        # psycopg keeps none of its own, which it would have the server forget with ours.
        connection.close()
        for length in (5, 9, 12):
            run_as_owner(f"ALTER TABLE much ALTER COLUMN text TYPE varchar({length})")
            with transaction.atomic():
                assert run_together(rows_of("SELECT text FROM much"), rows_of("SELECT 1")) == [[], [(1,)]]
    finally:
        run_as_owner("DROP TABLE much")


def test_an_error_is_raised_as_it_is_where_a_counter_would_be_counted_anew() -> None:
    limit = Limit("scope", 5, timedelta(hours=1))
    Counter.objects.hit((limit, "key"))
    # A clock was wrong.
    Counter.objects.update(expires=datetime.now(UTC) + timedelta(days=30))

    with pytest.raises(DataError), transaction.atomic():
        run_together(counting((limit, "key")), fails())

    with transaction.atomic():
        run_together(counting((limit, "key")), rows_of("SELECT 1"))
    assert Counter.objects.get().count == 1


@pytest.mark.parametrize("before", [[], ["SELECT 1"] * 3])
def test_a_connection_that_is_lost_meanwhile_is_an_error_and_the_next_one_works(before: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(OperationalError), transaction.atomic():
            run_together(
                *map(rows_of, before),
                rows_of("SELECT pg_terminate_backend(pg_backend_pid())"),
                rows_of("SELECT 1"),
            )
        connection.close()

        assert run_alone("SELECT 7") == 7


def test_whoever_watches_statements_sees_each_of_them(exchanged: list[int]) -> None:
    with CaptureQueriesContext(connection) as seen, transaction.atomic():
        run_together(rows_of("SELECT 1"), rows_of("SELECT 2"))

    assert [query["sql"] for query in seen.captured_queries if "SELECT" in query["sql"]] == [
        "SELECT 1",
        "SELECT 2",
    ]
    assert exchanged == []


@pytest.fixture
def pooled() -> Iterator[None]:
    connection.ensure_connection()
    own: Any = connection.connection
    own.prepare_threshold = None
    yield
    own.prepare_threshold = 5


def test_behind_a_pooler_each_goes_by_itself(exchanged: list[int], pooled: None) -> None:
    assert run_alone("SELECT 1") == 1

    assert exchanged == []


def test_in_the_middle_of_a_transaction_each_goes_by_itself(exchanged: list[int]) -> None:
    with transaction.atomic():
        Counter.objects.count()
        assert run_together(rows_of("SELECT 1"), rows_of("SELECT 2")) == [[(1,)], [(2,)]]

    assert run_together(rows_of("SELECT 3")) == [[(3,)]]
    assert exchanged == []


def test_an_alias_is_counted_inserted_and_linked_in_one_message(
    alice: User, exchanged: list[int], nobody_refused: Lately
) -> None:
    alias = issue(owner=alice)

    assert exchanged == [3]
    assert [address.email for address in Alias.objects.get().destination_addresses] == [alice.email]
    assert alias.destination_addresses[0].pk == alice.emailaddress_set.get(primary=True).pk


@pytest.mark.parametrize("what", ["quota", "destinations", "savepoint"])
def test_what_must_be_looked_at_first_is(
    alice: User, example_com: Domain, exchanged: list[int], nobody_refused: Lately, what: str
) -> None:
    if what == "quota":
        Domain.objects.update(alias_quota=1)
        issue(owner=alice)
    elif what == "destinations":
        issue(owner=alice, destinations=[alice.email])
    else:
        with transaction.atomic(), transaction.atomic():
            issue(owner=alice)

    assert exchanged == []
    assert [address.email for address in Alias.objects.get().destination_addresses] == [alice.email]


def test_whoever_was_over_a_limit_leaves_no_dead_rows_by_trying_again_and_again(
    alice: User, settings: Any, nobody_refused: Lately
) -> None:
    settings.ALIASES_PER_HOUR = 1
    issue(owner=alice)

    def try_again() -> int:
        with pytest.raises(RateLimited):
            issue(owner=alice)
        with connection.cursor() as cursor:
            cursor.execute("SELECT last_value FROM aliases_alias_id_seq")
            return int(cursor.fetchone()[0])

    first = try_again()

    assert [try_again() for _ in range(5)] == [first] * 5
    assert list(Counter.objects.filter(key=hide(alice.pk)).values_list("count", flat=True)) == [1, 1]
    assert Alias.objects.count() == 1
