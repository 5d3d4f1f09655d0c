"""Blocking work for the event loop's servers: threads, their database connections, and time limits."""

import asyncio
import select
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connection, connections

Result = TypeVar("Result")

# Seconds within which a question to the database is answered, or is answered with "try later": what
# waits for a hung database behind Postfix holds up everything that Postfix does.
LOOKUP_TIMEOUT = 3.0
# The same for what is written, while somebody else holds what it takes.
WRITE_TIMEOUT = 3.0

# The database is away, full, locked, or takes no changes (PostgreSQL raises InternalError for those).
UNAVAILABLE = (OperationalError, InterfaceError, InternalError)


class TooLate(OperationalError):
    """The work took longer than its caller waits: undo it, the caller has said "try later"."""


def refuse_late(deadline: float | None) -> None:
    """Raise TooLate where this moment of time.monotonic() is over."""
    if deadline is not None and time.monotonic() > deadline:
        raise TooLate


def is_locked(error: Exception) -> bool:
    """Whether another writer of SQLite's holds the database."""
    cause = error.__cause__
    # The lower octet is the primary code; SQLite adds others to it.
    return isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }


def limit_waiting() -> None:
    """Let this transaction wait for others' locks for WRITE_TIMEOUT at most. On SQLite, a process's own
    setting says so (mail.server)."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {round(WRITE_TIMEOUT * 1000)}")


class Pool:
    """Runs blocking work in threads, each of which keeps its own database connection."""

    def __init__(self, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="mail")

    async def run(self, work: Callable[..., Result], *args: Any) -> Result:
        """The work's result, or what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, in_thread, work, args)

    async def ask(self, work: Callable[..., Result], *args: Any) -> Result:
        """The same for a question to the database, with a deadline as its last argument.

        Raises TooLate after LOOKUP_TIMEOUT; the work itself sees the deadline, and undoes what comes late.
        """
        deadline = time.monotonic() + LOOKUP_TIMEOUT
        try:
            return await asyncio.wait_for(self.run(work, *args, deadline), LOOKUP_TIMEOUT)
        except TimeoutError as error:
            raise TooLate from error

    def close(self) -> None:
        """Take no more work; a thread that hangs is left behind."""
        self.executor.shutdown(wait=False, cancel_futures=True)


def in_thread(work: Callable[..., Result], args: tuple[Any, ...]) -> Result:
    """Run the work over a database connection that is not known to be broken."""
    own = connections["default"]
    if own.connection is not None and (own.errors_occurred or _has_ended(own)):
        own.close()
    try:
        return work(*args)
    except UNAVAILABLE:
        # One that takes no changes may be a replica's; a new connection may find the primary.
        own.close()
        raise
    finally:
        # From a pool (tests have one), a connection is borrowed.
        if getattr(own, "pool", None):
            own.close()


def _has_ended(connection: Any) -> bool:
    """Whether the server has hung up: an idle connection of PostgreSQL's has nothing to read otherwise."""
    if connection.vendor != "postgresql":
        return False
    try:
        poll = select.poll()
        poll.register(connection.connection.fileno(), select.POLLIN | select.POLLHUP)
        return bool(poll.poll(0))
    except Exception:
        # No file descriptor any more: psycopg has noticed before us.
        return True


Item = TypeVar("Item")


class _Waiting(Generic[Item]):
    """One caller's item, and what became of it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.wake = threading.Event()
        self.is_done = False
        self.error: Exception | None = None


class Batcher(Generic[Item]):
    """Writes what several threads want written at once in one go: a transaction for all that wait.

    `write_all` gets a list of items, and either writes them all or raises. Where the database is
    unavailable, that is told to all of them; otherwise they are written one by one, so that an item
    which cannot be written fails alone. Whoever comes first writes for those
    who come meanwhile; nobody waits for company.
    """

    def __init__(self, write_all: Callable[[Sequence[Item]], None]) -> None:
        self.write_all = write_all
        self._lock = threading.Lock()
        self._waiting: list[_Waiting[Item]] = []
        self._is_busy = False

    def write(self, item: Item) -> None:
        """Write the item, and return when it is written. Raises what writing it raised."""
        mine = _Waiting(item)
        with self._lock:
            self._waiting.append(mine)
            leads = not self._is_busy
            self._is_busy = True
        if not leads:
            mine.wake.wait()
        if not mine.is_done:
            self._lead()
        if mine.error:
            raise mine.error

    def _lead(self) -> None:
        """Write for all that wait by now, and hand on to the first one that has come since."""
        with self._lock:
            batch, self._waiting = self._waiting, []
        try:
            self._write(batch)
        finally:
            for each in batch:
                each.is_done = True
                each.wake.set()
            with self._lock:
                self._is_busy = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].wake.set()

    def _write(self, batch: Sequence[_Waiting[Item]]) -> None:
        try:
            self.write_all([each.item for each in batch])
        except Exception as error:
            if len(batch) == 1 or isinstance(error, UNAVAILABLE):
                for each in batch:
                    each.error = error
                return
            for each in batch:
                self._write([each])
