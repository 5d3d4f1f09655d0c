"""What is borrowed from the pool of connections after the server was restarted."""

import threading

import pytest
from django.db import connection, connections

from tests.rig.postgresql import run_as_owner

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]
BORROWED = 8


def borrow(together: threading.Barrier) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        together.wait(30)
    connection.close()


def fill_pool() -> None:
    """Leave connections in the pool that nobody uses."""
    connection.close()
    together = threading.Barrier(BORROWED)
    threads = [threading.Thread(target=borrow, args=[together]) for _ in range(BORROWED)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_requests_do_not_pay_for_connections_that_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pause(seconds: float) -> None:
        pytest.fail("psycopg_pool paused between two connections that had ended")

    monkeypatch.setattr("psycopg_pool.pool.sleep", no_pause)
    fill_pool()
    pool = connections["default"].pool  # type: ignore[attr-defined]
    assert pool.get_stats()["pool_available"] >= BORROWED

    run_as_owner(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    for _ in range(3):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)
        connection.close()


def test_a_connection_costs_no_question_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_question(connection: object, *args: object) -> None:
        pytest.fail("the pool asked the server whether the connection works")

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()
    # As the pool's own check does; Django uses cursors.
    monkeypatch.setattr("psycopg.Connection.execute", no_question)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
