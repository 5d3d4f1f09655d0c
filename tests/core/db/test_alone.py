"""Statements that are a transaction by themselves, and COMMIT: both go past psycopg's cursors."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from aliases.issuing import issue
from aliases.models import AliasDestination
from core.db.postgresql import base
from core.db.statements import pipelined, run
from core.ratelimit import Counter
from domains.models import Domain
from tests.rig.postgresql import run_as_owner

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

MOMENT = datetime(2026, 11, 27, 13, 0, 0, 123456, tzinfo=UTC)
VALUES: list[tuple[Any, str]] = [
    *(
        (text, "text")
        for text in ("", "100 % %s $1", "'; DROP TABLE core_counter; --", "ü€😀", "\\x", "NULL")
    ),
    *((number, "bigint") for number in (0, -1, 2**15, 2**31, 2**62)),
    (None, "text"),
    (True, "boolean"),
    (1.5, "double precision"),
    (MOMENT, "timestamptz"),
    (uuid.UUID(int=7), "uuid"),
    (b"\x00\xff", "bytea"),
    ('{"a": [1]}', "jsonb"),
]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that went past psycopg's cursors."""
    seen: list[str] = []
    run_alone = base.run_alone

    def note(own: Any, sql: str, params: Any) -> Any:
        seen.append(sql)
        return run_alone(own, sql, params)

    monkeypatch.setattr(base, "run_alone", note)
    return seen


@pytest.mark.parametrize(("value", "kind"), VALUES)
def test_values_go_there_and_back_as_through_a_cursor(alone: list[str], value: Any, kind: str) -> None:
    sql = f"SELECT %s::{kind}, 'a%%b', generate_series(1, 2)"
    with connection.cursor() as cursor:
        cursor.execute(sql, [value])
        expected = cursor.fetchall()

    for _ in range(3):  # prepared anew, and kept
        found = run(connection, sql, [value])
        assert found == expected
        assert [list(map(type, row)) for row in found] == [list(map(type, row)) for row in expected]
    assert alone == [sql] * 3


def test_numbers_of_every_size_find_their_row(alone: list[str], alice: User) -> None:
    sql = "SELECT email FROM accounts_user WHERE id = %s"

    for other in (1, 2**20, 2**40):
        assert run(connection, sql, [alice.pk]) == [(alice.email,)]
        assert run(connection, sql, [alice.pk + other]) == []
    assert len(alone) == 6


def test_an_error_is_djangos_and_the_next_statement_runs(alone: list[str]) -> None:
    insert = (
        'INSERT INTO core_counter (scope, "key", count, expires) VALUES (%s, %s, 1, now()) RETURNING count'
    )
    assert run(connection, insert, ["a", "b"]) == [(1,)]

    for _ in range(2):
        with pytest.raises(IntegrityError, match="counter_unique_key"):
            run(connection, insert, ["a", "b"])
        with pytest.raises(ProgrammingError, match="nonsense"):
            run(connection, "SELECT * FROM nonsense", [])
        with pytest.raises(DataError):
            run(connection, "SELECT %s::text", ["a\0b"])
        assert run(connection, "SELECT 1 + %s", [1]) == [(2,)]
    assert Counter.objects.count() == 1
    assert len(alone) == 9


@pytest.mark.parametrize(
    "forget",
    [
        lambda: connection.cursor().execute("DEALLOCATE ALL"),
        # psycopg has the server forget its statements after each of these.
        lambda: connection.connection.rollback(),
    ],
)
def test_a_statement_that_the_server_has_forgotten_is_prepared_again(
    forget: Callable[[], Any], alone: list[str]
) -> None:
    for number in range(4):
        assert run(connection, "SELECT %s::int", [number]) == [(number,)]
        forget()

    assert len(alone) == 4


def test_a_statement_whose_rows_have_another_type_than_before_is_prepared_again(alone: list[str]) -> None:
    run_as_owner("CREATE TABLE much (text varchar(5))", "GRANT SELECT ON much TO PUBLIC")
    try:
        for length in (5, 9, 12):
            run_as_owner(f"ALTER TABLE much ALTER COLUMN text TYPE varchar({length})")
            assert run(connection, "SELECT text FROM much", []) == []
    finally:
        run_as_owner("DROP TABLE much")
    assert len(alone) == 3


def test_a_connection_that_is_lost_is_an_error_and_the_next_one_works() -> None:
    for _ in range(2):
        with pytest.raises(OperationalError, match="lost"):
            run(connection, "SELECT pg_terminate_backend(pg_backend_pid())", [])
        # It is lost by now, which nothing but sending tells.
        with pytest.raises(OperationalError):
            run(connection, "SELECT 7", [])
        connection.close()

        assert run(connection, "SELECT 7", []) == [(7,)]


def test_in_a_transaction_and_a_pipeline_and_when_watched_cursors_are_used(alone: list[str]) -> None:
    with transaction.atomic():
        assert run(connection, "SELECT 1", []) == [(1,)]
        transaction.set_rollback(True)
    with CaptureQueriesContext(connection) as seen:
        assert run(connection, "SELECT 2", []) == [(2,)]
    with pipelined():
        Counter.objects.all().delete()
    own: Any = connection.connection
    with own.pipeline():
        assert run(connection, "SELECT 3", []) == [(3,)]

    assert [query["sql"] for query in seen.captured_queries] == ["SELECT 2"]
    assert alone == []


def test_behind_a_pooler_cursors_are_used(alone: list[str]) -> None:
    connection.ensure_connection()
    own: Any = connection.connection
    own.prepare_threshold = None
    try:
        assert run(connection, "SELECT 1", []) == [(1,)]
    finally:
        own.prepare_threshold = 5

    assert alone == []


def test_what_is_committed_others_see_and_what_is_not_they_do_not() -> None:
    with transaction.atomic():
        Counter.objects.create(scope="a", key="b", count=1, expires=MOMENT)
    with transaction.atomic():
        Counter.objects.create(scope="c", key="d", count=1, expires=MOMENT)
        transaction.set_rollback(True)
    connection.close()

    assert list(Counter.objects.values_list("scope", flat=True)) == ["a"]


def test_what_the_commit_finds_is_raised_and_undoes_all(alice: User, example_com: Domain) -> None:
    alias = issue(owner=alice)
    AliasDestination.objects.all().delete()

    nobody = EmailAddress.objects.latest("pk").pk + 1

    @transaction.atomic
    def link_to_nobody() -> None:
        Counter.objects.all().delete()
        # PostgreSQL looks at this foreign key at the end.
        AliasDestination.objects.create(alias=alias, address_id=nobody)

    with pytest.raises(IntegrityError):
        link_to_nobody()

    assert Counter.objects.exists()
    assert not AliasDestination.objects.exists()


def test_a_connection_that_is_lost_before_the_commit_is_an_error_and_the_next_one_works() -> None:
    ((process,),) = run(connection, "SELECT pg_backend_pid()", [])

    @transaction.atomic
    def count_and_be_lost() -> None:
        Counter.objects.create(scope="a", key="b", count=1, expires=MOMENT)
        run_as_owner(f"SELECT pg_terminate_backend({process}, 10000)")

    with pytest.raises(OperationalError, match="lost"):
        count_and_be_lost()
    connection.close()

    assert not Counter.objects.exists()
