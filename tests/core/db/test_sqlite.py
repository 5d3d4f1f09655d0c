"""SQLite's frequent statements, BEGIN and COMMIT, which go past Django's cursors."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    IntegrityError,
    OperationalError,
    connections,
    transaction,
)
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from core.db.statements import execute, run

pytestmark = pytest.mark.sqlite


@pytest.fixture
def file(tmp_path: Path, django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    """Django's connection, to a file with a table of unique numbers, as outside of tests."""
    settings = {**connections[DEFAULT_DB_ALIAS].settings_dict, "NAME": str(tmp_path / "file.sqlite3")}
    options = {**settings["OPTIONS"], "timeout": 0.05}
    before = connections[DEFAULT_DB_ALIAS]
    own = type(before)({**settings, "OPTIONS": options}, DEFAULT_DB_ALIAS)
    connections[DEFAULT_DB_ALIAS] = own
    with django_db_blocker.unblock():
        own.ensure_connection()
        own.connection.execute("CREATE TABLE numbers (number integer UNIQUE)")
        yield own
        own.close()
    connections[DEFAULT_DB_ALIAS] = before


@pytest.fixture
def other(file: Any) -> Iterator[sqlite3.Connection]:
    """Another process's connection."""
    own = sqlite3.connect(file.settings_dict["NAME"], timeout=0, isolation_level=None)
    yield own
    own.close()


def _insert(*numbers: int) -> None:
    for number in numbers:
        run(connections[DEFAULT_DB_ALIAS], "INSERT INTO numbers VALUES (%s) RETURNING number", [number])


@transaction.atomic
def _insert_in_vain() -> None:
    """Insert 1, and have it undone by an error that is none of the database's."""
    transaction.on_commit(lambda: pytest.fail("it was not committed"))
    _insert(1)
    raise ZeroDivisionError


def _numbers(of: sqlite3.Connection) -> list[int]:
    return [number for (number,) in of.execute("SELECT number FROM numbers ORDER BY number")]


def test_others_see_a_transaction_once_it_is_committed(file: Any, other: sqlite3.Connection) -> None:
    with transaction.atomic():
        _insert(1)
        assert file.connection.in_transaction
        assert _numbers(other) == []

    assert _numbers(other) == [1]
    assert not file.connection.in_transaction


def test_a_transaction_has_the_lock_from_its_begin(file: Any, other: sqlite3.Connection) -> None:
    with transaction.atomic(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")


def test_a_begin_in_vain_is_an_error_of_djangos_and_leaves_no_transaction(
    file: Any, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(OperationalError) as caught, transaction.atomic():
        pytest.fail("there is no transaction")

    assert caught.value.__cause__.sqlite_errorname == "SQLITE_BUSY"
    assert not file.in_atomic_block
    other.execute("ROLLBACK")
    with transaction.atomic():
        _insert(1)
    assert _numbers(other) == [1]


def test_an_exception_undoes_the_transaction(file: Any, other: sqlite3.Connection) -> None:
    with pytest.raises(ZeroDivisionError):
        _insert_in_vain()

    assert _numbers(other) == []
    assert not file.connection.in_transaction


def test_a_savepoint_is_undone_alone(file: Any, other: sqlite3.Connection) -> None:
    with transaction.atomic():
        _insert(1)
        with pytest.raises(IntegrityError), transaction.atomic():
            _insert(2, 1)

    assert _numbers(other) == [1]


def test_nothing_runs_in_a_transaction_that_has_to_be_undone(file: Any, other: sqlite3.Connection) -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            _insert(1)

    assert _numbers(other) == []


def test_what_is_to_happen_after_the_commit_happens_then_and_only_then(
    file: Any, other: sqlite3.Connection
) -> None:
    seen: list[list[int]] = []
    with pytest.raises(ZeroDivisionError):
        _insert_in_vain()
    with transaction.atomic():
        transaction.on_commit(lambda: seen.append(_numbers(other)))
        _insert(1)
        assert seen == []

    assert seen == [[1]]


def test_the_drivers_errors_are_djangos(file: Any) -> None:
    _insert(1)
    with pytest.raises(IntegrityError) as caught:
        _insert(1)
    assert caught.value.__cause__.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE"
    assert not file.errors_occurred

    with pytest.raises(DatabaseError):
        execute(file, "DELETE FROM nothing")
    # The end of the request looks at such a connection.
    assert file.errors_occurred


def test_marks_and_percent_signs_are_as_in_djangos_cursors(file: Any) -> None:
    sql = "SELECT %s, 'a%%b%%s?', %s"
    with file.cursor() as cursor:
        cursor.execute(sql, [1, "%s"])
        expected = cursor.fetchall()

    assert run(file, sql, [1, "%s"]) == expected == [(1, "a%b%s?", "%s")]


def test_whoever_watches_sees_all(file: Any) -> None:
    with CaptureQueriesContext(file) as queries, transaction.atomic():
        _insert(1)

    assert [query["sql"].partition(" ")[0] for query in queries] == ["BEGIN", "INSERT", "COMMIT"]
