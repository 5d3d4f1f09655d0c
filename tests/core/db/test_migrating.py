"""A database is migrated while others work with it."""

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection

from core.db import migrating
from core.db.locks import has_waited_in_vain
from core.db.migrating import migrate
from tests.rig.foreign_keys import actions
from tests.rig.postgresql import another_connection

Reader = psycopg.Connection[tuple[Any, ...]]

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def reader() -> Iterator[Reader]:
    """Somebody who reads a table for long, as pg_dump does, while a migration of it is still to come."""
    call_command("migrate", "rules", "0001", verbosity=0)
    try:
        with another_connection() as reading:
            # A migration that waits for it in spite of all goes on in the end, and the test fails.
            reading.execute("SET idle_in_transaction_session_timeout = '60s'")
            reading.execute("BEGIN")
            reading.execute("SELECT 1 FROM accounts_user")
            yield reading
    finally:
        call_command("migrate", verbosity=0)


def test_nobody_waits_while_a_migration_waits_for_someone_who_reads_for_long(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def pause(_seconds: float) -> None:
        with another_connection() as other:
            other.execute("SET statement_timeout = '5s'")
            read.append(other.execute("SELECT count(*) FROM accounts_user").fetchall())
        reader.execute("ROLLBACK")

    monkeypatch.setattr(migrating, "time", SimpleNamespace(monotonic=lambda: 0, sleep=pause))
    migrate(timedelta(minutes=1))

    assert read == [[(0,)]]
    assert actions("rules_rule") == {"owner_id": "CASCADE"}


@pytest.mark.usefixtures("reader")
def test_a_migration_gives_up_and_leaves_all_as_it_was_if_that_does_not_end() -> None:
    with pytest.raises(OperationalError) as raised:
        migrate(timedelta(0))

    assert has_waited_in_vain(raised.value)
    assert actions("rules_rule") == {"owner_id": ""}


@pytest.mark.parametrize(("app", "before"), [("aliases", "0005"), ("rules", "0001")])
def test_of_several_foreign_keys_each_is_changed_while_no_other_table_is_locked(
    app: str, before: str
) -> None:
    """Whoever holds the next table may want the one before: in a busy hour, at each of the tries."""
    call_command("migrate", app, before, verbosity=0)
    locked = []

    def look(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:  # noqa: FBT001
        if "ADD CONSTRAINT" in sql:
            own = "pid = pg_backend_pid() AND mode = 'AccessExclusiveLock'"
            execute(f"SELECT count(*) FROM pg_locks WHERE {own}", None, False, context)  # noqa: S608, FBT003
            locked.append(context["cursor"].fetchone()[0])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(look):
        call_command("migrate", verbosity=0)

    assert len(locked) > 1
    assert not any(locked)
