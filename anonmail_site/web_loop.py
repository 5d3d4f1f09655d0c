"""What a web worker's loop waits for, and the threads that it hands requests to.

waitress has both. Its loop asks each connection at each turn whether it would read or write, tells the kernel
anew, and is woken after each answer; its threads take turns, and wait at a lock for each request.
"""

import logging
import select
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Any

from waitress import wasyncore

logger = logging.getLogger(__name__)

_READ = select.POLLIN | select.POLLPRI
_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Watched(dict[int, Any]):
    """The sockets that the loop waits for, by file number, as waitress enters and deletes them.

    A connection stays watched for what it wanted last. If a request is being answered, nothing comes from its
    client as a rule; only if something does, the loop stops watching until the thread has finished.
    """

    def __init__(self) -> None:
        super().__init__()
        self._poll = select.poll()
        self._events: dict[int, int] = {}
        self._changed: deque[Any] = deque()

    def __setitem__(self, number: int, each: Any) -> None:
        super().__setitem__(number, each)
        self._watch(number, _READ)

    def __delitem__(self, number: int) -> None:
        super().__delitem__(number)
        self._watch(number, 0)

    @property
    def has_changes(self) -> bool:
        """Whether a socket wants something else than the loop watches it for."""
        return bool(self._changed)

    def handle_events(self, seconds: float) -> None:
        """Let the sockets handle what happens in so many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            while self._changed:
                each = self._changed.popleft()
                if self.get(each._fileno) is each:
                    self.attend(each)
            for number, happened in self._poll.poll(left * 1000):
                # One that is gone by now, or has changed its mind, is not told.
                if each := self.get(number):
                    wanted = self.attend(each)
                    if wanted and (events := happened & (wanted | _ENDED)):
                        wasyncore.readwrite(each, events)
                    if happened & ~_READ and number in self:
                        self.attend(self[number])

    def attend(self, each: Any) -> int:
        """Watch a socket for what it wants now; these events. For the loop's thread."""
        number, wanted = each._fileno, _wanted_by(each)
        if wanted != self._events.get(number):
            self._watch(number, wanted)
            # A thread that finished in this moment still found it watched.
            if not wanted and (wanted := _wanted_by(each)):
                self._watch(number, wanted)
        return wanted

    def note_change(self, each: Any) -> bool:
        """Whether the loop must be woken because a socket wants something else than it is watched for."""
        if self._events.get(each._fileno) == _wanted_by(each):
            return False
        self._changed.append(each)
        return True

    def _watch(self, number: int, events: int) -> None:
        before = self._events.get(number)
        if events:
            self._events[number] = events
            self._poll.register(number, events)
        elif before:
            self._events[number] = 0
            self._poll.unregister(number)
        if number not in self:
            self._events.pop(number, None)


def _wanted_by(each: Any) -> int:
    events = _READ if each.readable() else 0
    # A listening socket is not written to.
    return events | select.POLLOUT if each.writable() and not each.accepting else events


class Dispatcher:
    """Threads that answer requests.

    The thread that was busy last gets the next request: its connection to the database, and the pages that
    SQLite keeps there, are the ones that were used last.
    """

    def __init__(self, threads: int) -> None:
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[Any]] = []
        self._tasks: deque[Any] = deque()
        for number in range(threads):
            threading.Thread(target=self._serve, name=f"web-{number}", daemon=True).start()

    def add_task(self, task: Any) -> None:
        """Let a thread run `task.service()`."""
        with self._lock:
            if not self._idle:
                self._tasks.append(task)
                return
            thread = self._idle.pop()
        thread.put(task)

    def _serve(self) -> None:
        mine: SimpleQueue[Any] = SimpleQueue()
        while True:
            with self._lock:
                task = self._tasks.popleft() if self._tasks else None
                if task is None:
                    self._idle.append(mine)
            try:
                (task or mine.get()).service()
            except BaseException as error:
                logger.error("an answer ended with %s", type(error).__name__)
