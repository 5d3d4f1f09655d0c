"""Waiting for what other transactions have locked."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any

from django.db import DEFAULT_DB_ALIAS, Error, OperationalError, connection, connections

from core.db.statements import execute
from core.db.together import Statement

# PostgreSQL's SQLSTATEs (Appendix A): lock_not_available, deadlock_detected.
_WAITED_IN_VAIN = {"55P03", "40P01"}
TURN_PATIENCE = timedelta(seconds=5)
TURN_PAUSE = timedelta(milliseconds=1)
CLAIM_PAUSE = timedelta(milliseconds=200)


def limit_lock_wait(limit: timedelta) -> None:
    """Let each statement of this transaction wait that long for others' locks on PostgreSQL; it then raises
    OperationalError. SQLite has one lock, which it takes before."""
    for statement in lock_wait_limited(limit):
        execute(connections[DEFAULT_DB_ALIAS], statement.sql)


def lock_wait_limited(limit: timedelta) -> list[Statement[None]]:
    """The same, to be run together with the transaction's first statements."""
    if connection.vendor != "postgresql":
        return []
    milliseconds = round(limit.total_seconds() * 1000)
    return [Statement(f"SELECT set_config('lock_timeout', '{milliseconds}', true)", (), lambda _rows: None)]


def has_waited_in_vain(error: Exception) -> bool:
    """Whether PostgreSQL ended the transaction because of others' locks, and not for want of a database."""
    return isinstance(error, OperationalError) and getattr(error.__cause__, "sqlstate", "") in _WAITED_IN_VAIN


def write_turn() -> AbstractContextManager[None]:
    """Wait in line, on SQLite, for other processes that are about to write; for a few seconds at most.

    SQLite itself sleeps for up to 100 ms between two tries, and finds its lock taken again each time where
    another process always has more to write. To be entered at once: the file to lock is open by then.
    """
    file = _open_beside_database("turn")
    return nullcontext() if file is None else _turn_with(file)


@contextmanager
def _turn_with(file: int) -> Iterator[None]:
    try:
        _wait_for(file)
        yield
    finally:
        os.close(file)


def _open_beside_database(name: str) -> int | None:
    """The file of this name beside an SQLite database, to be locked; None if there is none."""
    database: Any = connections[DEFAULT_DB_ALIAS]
    if database.vendor != "sqlite" or database.is_in_memory_db():
        return None
    try:
        return os.open(f"{database.settings_dict['NAME']}-{name}", os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError:
        # In a directory that cannot be written, the database will say so.
        return None


@contextmanager
def claim(name: str) -> Iterator[bool]:
    """Whether no other process, on any host, has claimed this name; if so, it is ours until the block ends.

    It ends with the process too, and with a lost connection. Nobody waits.
    """
    if connection.vendor == "postgresql":
        with _claim_on_postgresql(name) as is_ours:
            yield is_ours
        return
    file = _open_beside_database(name)
    if file is None:
        yield True
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


@contextmanager
def claim_in_turn(name: str, patience: timedelta) -> Iterator[None]:
    """The same, once whoever has claimed the name is done. Raises TimeoutError if that takes longer."""
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        with claim(name) as is_ours:
            if is_ours:
                yield
                return
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(CLAIM_PAUSE.total_seconds())


@contextmanager
def _claim_on_postgresql(name: str) -> Iterator[bool]:
    """An advisory lock, held by a transaction that does nothing else: a pooler may give every transaction
    another connection, and what the block does has transactions of its own."""
    own = connections.create_connection(DEFAULT_DB_ALIAS)
    try:
        with _transaction_of(own), own.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s))", [f"anonmail {name}"])
            yield bool(cursor.fetchone()[0])
    finally:
        own.close()


@contextmanager
def _transaction_of(own: Any) -> Iterator[None]:
    """A transaction of a connection that is not among Django's."""
    own.set_autocommit(False)
    try:
        yield
    finally:
        with suppress(Error):  # The server may have gone meanwhile.
            own.rollback()
            own.set_autocommit(True)


def _wait_for(file: int) -> None:
    deadline = time.monotonic() + TURN_PATIENCE.total_seconds()
    while time.monotonic() < deadline:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(TURN_PAUSE.total_seconds())
