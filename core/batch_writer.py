"""Writing together what several threads want written at the same moment."""

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _Waiting(Generic[Item]):
    """One caller's item, and what became of it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.wake = threading.Event()
        self.was_tried = False
        self.is_written = False
        self.error: Exception | None = None


class BatchWriter(Generic[Item]):
    """Writes the items of all threads that wait in one transaction.

    `write_all` takes a list of items, and either writes them all or raises. If the error `is_common`, all
    callers get it; otherwise each of them writes its item alone, so that only the one that cannot be written
    fails. The first to come writes for those who come meanwhile; nobody waits for company. Items with the
    same `key` are never written together.
    """

    def __init__(
        self,
        write_all: Callable[[Sequence[Item]], None],
        *,
        is_common: Callable[[Exception], bool],
        key: Callable[[Item], Hashable] = id,
    ) -> None:
        self.write_all = write_all
        self.is_common = is_common
        self.key = key
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
        if not mine.was_tried:
            self._lead()
        if mine.error:
            raise mine.error
        if not mine.is_written:
            self.write_all([item])

    def _lead(self) -> None:
        """Write for those that wait by now, and hand over to the first one that is left or has come since."""
        with self._lock:
            first_of_key: dict[Hashable, _Waiting[Item]] = {}
            for each in self._waiting:
                first_of_key.setdefault(self.key(each.item), each)
            batch = list(first_of_key.values())
            self._waiting = [each for each in self._waiting if each not in batch]
        try:
            self._write(batch)
        finally:
            for each in batch:
                each.was_tried = True
                each.wake.set()
            with self._lock:
                self._is_busy = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].wake.set()

    def _write(self, batch: Sequence[_Waiting[Item]]) -> None:
        try:
            self.write_all([each.item for each in batch])
        except Exception as error:
            if len(batch) == 1 or self.is_common(error):
                for each in batch:
                    each.error = error
            return
        for each in batch:
            each.is_written = True
