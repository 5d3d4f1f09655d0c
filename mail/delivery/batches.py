"""Writing together what several threads want written at the same moment."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from mail.delivery.database import UNAVAILABLE, TooLate

Item = TypeVar("Item")


class _Waiting(Generic[Item]):
    """One caller's item, and what became of it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.wake = threading.Event()
        self.is_done = False
        self.error: Exception | None = None


class BatchWriter(Generic[Item]):
    """Writes the items of all threads that wait in one transaction.

    `write_all` takes a list of items, and either writes them all or raises. If the database is
    unavailable, all callers get that error; otherwise the items are then written one by one, so that only
    the one that cannot be written fails. The first to come writes for those who come meanwhile; nobody
    waits for company.
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
        """Write for all that wait by now, and hand over to the first one that has come since."""
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
            if len(batch) == 1 or (isinstance(error, UNAVAILABLE) and not isinstance(error, TooLate)):
                for each in batch:
                    each.error = error
                return
            for each in batch:
                self._write([each])
