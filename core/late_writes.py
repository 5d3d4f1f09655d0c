"""Writes that no request waits for, or is refused because of."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

from django.db import Error, connections

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

DELAY = timedelta(seconds=1)
# After a write that failed: the database is read-only, or full.
PAUSE = timedelta(minutes=1)


class LateWriter(Generic[Item]):
    """Writes together what was noted within a second, a thread of its own waiting for the database's locks.

    What cannot be written is lost, as with a killed process, and for a minute nothing more is noted. This is
    for notes that will be made again.
    """

    def __init__(self, write_all: Callable[[set[Item]], object]) -> None:
        self.write_all = write_all
        self._lock = threading.Lock()
        self._noted: set[Item] = set()
        self._paused_until = 0.0

    def note(self, item: Item) -> None:
        """Have the item written soon."""
        if time.monotonic() < self._paused_until:
            return
        with self._lock:
            is_first = not self._noted
            self._noted.add(item)
        if is_first:
            start(self._write)

    def _write(self) -> None:
        with self._lock:
            items, self._noted = self._noted, set()
        try:
            self.write_all(items)
        except Error as error:
            self._paused_until = time.monotonic() + PAUSE.total_seconds()
            logger.warning("a write that may fail has failed: %s", type(error).__name__)


def start(write: Callable[[], None]) -> None:
    """Run it in a thread, later; tests replace this to run it at once."""

    def write_and_disconnect() -> None:
        try:
            write()
        finally:
            connections.close_all()

    # Python waits for it before the process ends.
    threading.Timer(DELAY.total_seconds(), write_and_disconnect).start()
