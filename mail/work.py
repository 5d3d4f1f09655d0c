"""Blocking work for the event loop's servers: threads, their database connections, and time limits."""

import asyncio
import select
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connections

Result = TypeVar("Result")

# Seconds within which a question to the database is answered, or is answered with "try later": what
# waits for a hung database behind Postfix holds up everything that Postfix does.
LOOKUP_TIMEOUT = 3.0


class TooLate(OperationalError):
    """The work took longer than its caller waits: undo it, the caller has said "try later"."""


def refuse_late(deadline: float | None) -> None:
    """Raise TooLate where this moment of time.monotonic() is over."""
    if deadline is not None and time.monotonic() > deadline:
        raise TooLate


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
    connection = connections["default"]
    if connection.connection is not None and (connection.errors_occurred or _has_ended(connection)):
        connection.close()
    try:
        return work(*args)
    except (OperationalError, InterfaceError):
        connection.close()
        raise
    finally:
        # From a pool (tests have one), a connection is borrowed.
        if getattr(connection, "pool", None):
            connection.close()


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
