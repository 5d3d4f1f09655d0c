"""Writing together what several threads want written at the same moment."""

import copy
import threading
from collections.abc import Callable, Hashable, Sequence
from datetime import timedelta
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
    same `key` are never written together. Whoever has waited for longer than `patience` writes beside the
    one that is held up, for all that wait.
    """

    def __init__(
        self,
        write_all: Callable[[Sequence[Item]], None],
        *,
        is_common: Callable[[Exception], bool],
        key: Callable[[Item], Hashable] = id,
        patience: timedelta | None = None,
    ) -> None:
        self.write_all = write_all
        self.is_common = is_common
        self.key = key
        self.patience = None if patience is None else patience.total_seconds()
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
        if leads:
            self._lead(mine)
        while not mine.was_tried:
            mine.wake.wait(self.patience)
            self._lead(mine)
        if mine.error:
            raise mine.error
        if not mine.is_written:
            self.write_all([item])

    def _lead(self, mine: _Waiting[Item]) -> None:
        """Write it with all that wait by now, and hand over to the first one that is left or has come since.

        Does nothing if another thread has taken it.
        """
        with self._lock:
            if mine not in self._waiting:
                return
            first_of_key = {self.key(mine.item): mine}
            for each in self._waiting:
                first_of_key.setdefault(self.key(each.item), each)
            batch = list(first_of_key.values())
            self._waiting = [each for each in self._waiting if each not in batch]
        # Its own thread is this one.
        others = batch[1:]
        for each in others:
            each.wake.clear()
        try:
            self._write(batch)
        finally:
            mine.was_tried = True
            for each in others:
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
            if len(batch) == 1:
                batch[0].error = error
            elif self.is_common(error):
                for each in batch:
                    each.error = _copy_of(error)
            return
        for each in batch:
            each.is_written = True


def _copy_of(error: Exception) -> Exception:
    """The same error to raise in one thread: raising adds that thread's frames."""
    own = copy.copy(error).with_traceback(error.__traceback__)
    own.__cause__ = error.__cause__
    return own
