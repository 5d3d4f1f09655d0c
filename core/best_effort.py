"""Writes that may fail: no request waits for them or is refused because of them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connection

logger = logging.getLogger(__name__)


@contextmanager
def best_effort() -> Iterator[None]:
    """Run the block's writes, or skip them if the database is locked, read-only or full.

    On SQLite they do not wait for another process's lock. Not inside a transaction, which a failure would
    end.
    """
    try:
        with _without_waiting():
            yield
    except DatabaseError as error:
        logger.warning("a write that may fail has failed: %s", type(error).__name__)


@contextmanager
def _without_waiting() -> Iterator[None]:
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    # Not through Django's cursors: tests and the benchmark count those statements.
    driver = connection.connection
    (waits,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(waits)}")
