"""Writes that may be left undone: nobody waits for them, and nobody is refused for want of them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connection

logger = logging.getLogger(__name__)


@contextmanager
def best_effort() -> Iterator[None]:
    """Run the block's writes if they can be had now; else (locked, read-only, full) leave them undone.

    On SQLite they wait for no other process's lock. Not for the inside of a transaction, which a failure
    would end.
    """
    try:
        with _without_waiting():
            yield
    except DatabaseError as error:
        logger.warning("a write that may be left undone was left undone: %s", type(error).__name__)


@contextmanager
def _without_waiting() -> Iterator[None]:
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    # beside Django's cursors: this is no statement of the application's
    driver = connection.connection
    (waits,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(waits)}")
