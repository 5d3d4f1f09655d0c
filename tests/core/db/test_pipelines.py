"""Statements that go to PostgreSQL together."""

import time

import pytest
from django.db import DatabaseError, connection, transaction

from accounts.models import User
from core.db.statements import execute, pipelined, run
from core.ratelimit import Counter
from tests.rig.postgresql import run_elsewhere

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

# More than the driver's library keeps before it sends.
LARGE = "x" * 20_000
NUMBER = 50
RENAME = "UPDATE accounts_user SET email = %s WHERE email = %s"


def last_statement_of(process: int) -> str:
    """The last statement that this server process has begun, as another connection sees it."""
    asked = f"SELECT query FROM pg_stat_activity WHERE pid = {process}"  # noqa: S608
    ((query,),) = run_elsewhere(asked)
    return str(query)


def test_nothing_is_sent_before_all_statements_are_there(alice: User) -> None:
    ((process,),) = run(connection, "SELECT pg_backend_pid()", [])

    with pipelined():
        execute(connection, RENAME, ["bob@home.test", alice.email])
        execute(connection, RENAME, ["carol@home.test", "bob@home.test"])
        time.sleep(0.2)
        before = last_statement_of(process)

    assert "UPDATE" not in before
    assert "UPDATE" in last_statement_of(process)
    alice.refresh_from_db()
    assert alice.email == "carol@home.test"


def test_what_fails_is_raised_at_the_end_and_undoes_the_rest(alice: User) -> None:
    reached = []

    def write() -> None:
        with transaction.atomic(), pipelined():
            execute(connection, RENAME, ["bob@home.test", alice.email])
            execute(connection, "SELECT 1 / 0")
            reached.append("the end")

    with pytest.raises(DatabaseError):
        write()

    assert reached == ["the end"]
    assert User.objects.get().email == alice.email
    with pipelined():
        execute(connection, RENAME, ["bob@home.test", alice.email])
    assert User.objects.get().email == "bob@home.test"


def test_an_error_of_the_block_itself_leaves_the_connection_usable(alice: User) -> None:
    def write() -> None:
        with transaction.atomic(), pipelined():
            execute(connection, RENAME, ["bob@home.test", alice.email])
            raise KeyError

    with pytest.raises(KeyError):
        write()

    assert User.objects.get().email == alice.email


def test_much_more_than_fits_into_a_buffer_is_sent_and_answered(alice: User) -> None:
    execute(connection, "CREATE TABLE much (text text)")
    try:
        with transaction.atomic(), pipelined():
            for _ in range(NUMBER):
                execute(connection, "INSERT INTO much SELECT %s", [LARGE])
                # An answer as large: neither side may wait until the other one has read.
                execute(connection, f"SELECT repeat('x', {100 * len(LARGE)})")

        assert run(connection, "SELECT count(*) FROM much", []) == [(NUMBER,)]
    finally:
        execute(connection, "DROP TABLE much")


def test_a_transaction_that_begins_with_pipelined_statements_sends_one_message(
    exchanged: list[int],
) -> None:
    insert = 'INSERT INTO core_counter (scope, "key", count, expires) VALUES (%s, %s, 1, now())'

    with transaction.atomic():
        with pipelined():
            execute(connection, insert, ["a", "b"])
            execute(connection, insert, ["a", "c"])
            # Nothing has been sent yet.
            assert exchanged == []
        # The transaction has begun: these go as psycopg's pipeline sends them.
        with pipelined():
            execute(connection, insert, ["a", "d"])

    assert exchanged == [2]
    assert Counter.objects.count() == 3
