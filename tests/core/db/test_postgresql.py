"""What is borrowed from the pool of connections after the server was restarted."""

import threading

import pytest
from allauth.account.models import EmailAddress
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from accounts.models import User
from core.db.connecting import give_connection_back
from tests.rig.postgresql import run_as_owner
from tokens.authentication import TokenAuthentication
from tokens.models import Token

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


def test_a_connection_from_the_pool_is_not_told_to_commit_by_itself_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(*args: object) -> None:
        pytest.fail("autocommit was set to what it was")

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()
    monkeypatch.setattr("psycopg.Connection.set_autocommit", told)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_a_small_table_is_not_scanned_by_a_plan_that_stays_when_it_grows() -> None:
    User.objects.bulk_create(User(email=f"user{number}@example.com") for number in range(200))
    for user in User.objects.all():
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        _token, secret = Token.objects.issue(owner=user, name="app")
    run_as_owner("ANALYZE")

    request = APIRequestFactory().get("/", headers={"Authentication": f"{user.email}:{secret}"})
    with CaptureQueriesContext(connection) as queries:
        assert TokenAuthentication().authenticate(APIView().initialize_request(request))
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {queries[0]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Scan using tokens_token_digest" in plan, plan
    assert "Seq Scan on account" not in plan, plan


def test_a_connection_goes_back_to_the_pool_only_between_transactions_and_if_it_is_sound() -> None:
    with transaction.atomic():
        connection.ensure_connection()
        give_connection_back()
        assert connection.connection is not None
    connection.errors_occurred = True
    give_connection_back()
    assert connection.connection is not None
    connection.errors_occurred = False

    give_connection_back()

    assert connection.connection is None
    give_connection_back()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
