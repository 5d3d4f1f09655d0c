"""Writing together what several threads want written at the same moment."""

import copy
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Seconds for which the last batch says how many there are that write.
FRESH = 0.05


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
    fails. The first to come writes for those who come meanwhile. If others wrote or waited a moment ago, it
    waits for as many as those, for `gathering` at most; else nobody waits for company. Items with the same
    `key` are never written together. Whoever has waited for longer than `patience` writes beside the one that
    is held up, for all that wait. A thread that will wait for another one calls `before_waiting`.
    """

    def __init__(
        self,
        write_all: Callable[[Sequence[Item]], None],
        *,
        is_common: Callable[[Exception], bool],
        key: Callable[[Item], Hashable] = id,
        patience: timedelta | None = None,
        gathering: timedelta = timedelta(0),
        before_waiting: Callable[[], None] | None = None,
    ) -> None:
        self.write_all = write_all
        self.is_common = is_common
        self.key = key
        self.patience = None if patience is None else patience.total_seconds()
        self.gathering = gathering.total_seconds()
        self.before_waiting = before_waiting
        self._lock = threading.Lock()
        self._waiting: list[_Waiting[Item]] = []
        self._is_busy = False
        # How many wrote or waited when the last batch ended, and when that was.
        self._company = 0
        self._ended = 0.0
        self._all_came = threading.Event()

    def write(self, item: Item) -> None:
        """Write the item, and return when it is written. Raises what writing it raised."""
        mine = _Waiting(item)
        with self._lock:
            self._waiting.append(mine)
            if len(self._waiting) >= self._company:
                self._all_came.set()
            leads = not self._is_busy
            self._is_busy = True
        if leads:
            self._gather()
            self._lead(mine)
        elif self.before_waiting:
            self.before_waiting()
        while not mine.was_tried:
            if mine.wake.wait(self.patience) and not mine.was_tried:
                self._gather()
            self._lead(mine)
        if mine.error:
            raise mine.error
        if not mine.is_written:
            self.write_all([item])

    def _gather(self) -> None:
        """Let those come who have just written: together they cost little more than one alone."""
        with self._lock:
            is_complete = len(self._waiting) >= self._company
            if is_complete or time.monotonic() - self._ended > FRESH:
                return
            self._all_came.clear()
        self._all_came.wait(self.gathering)

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
                self._company, self._ended = len(batch) + len(self._waiting), time.monotonic()
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
