"""A thread with a database connection of its own, which does together what many ask for at once."""

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from django.db import OperationalError, connections

from core.db.availability import UNAVAILABLE, is_locked
from core.db.locks import has_waited_in_vain
from mail.delivery.database import WRITE_TIMEOUT, TooLate, call_with_database

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# Seconds within which the database answers, or the answer is "try later": what waits for a hung database
# behind Postfix holds up everything that Postfix does.
ANSWER_TIMEOUT = 3.0
# Seconds between two tries while another process writes to an SQLite database.
PAUSE = 0.05


class _Asked(Generic[Item, Answer]):
    __slots__ = ("answer", "deadline", "item")

    def __init__(self, item: Item, answer: "asyncio.Future[Answer]", deadline: float) -> None:
        self.item, self.answer, self.deadline = item, answer, deadline


# One who has asked, and what they learn: an answer, or why there is none.
_Answered = tuple[_Asked[Item, Answer], Answer | Exception]


class Expected:
    """How many are about to ask: each by the end of a block. `when_fewer` is called after each block."""

    def __init__(self, when_fewer: Callable[[], object]) -> None:
        self.number = 0
        self._when_fewer = when_fewer

    def __enter__(self) -> None:
        self.number += 1

    def __exit__(self, *_error: object) -> None:
        self.number -= 1
        self._when_fewer()


class Gatherer(Generic[Item, Answer]):
    """Answers what is asked in one event loop, all that waits at once.

    `answer_all` takes the items, and either returns the answer to each, in their order, or raises. If the
    database is unavailable, all get that error; otherwise they are then answered one by one, so that only
    the one that cannot be answered fails.

    `patience`: seconds that those who wait go on waiting for others who are `expected`, as each of these says
    by a block; alone, nobody waits. The loop gathers them, and wakes the thread once for all of them: two
    threads that wake each other take Python's lock from each other each time.
    """

    def __init__(
        self, name: str, answer_all: Callable[[Sequence[Item]], Sequence[Answer]], patience: float = 0
    ) -> None:
        self.answer_all = answer_all
        self.patience = patience
        self.expected = Expected(self._hand_over_if_all_have_come)
        # What the thread has not been given yet, since when the first of it waits (of the loop's time), and
        # whether that is looked at in the next round of the loop, or at the end of its patience.
        self._asked: list[_Asked[Item, Answer]] = []
        self._since = 0.0
        self._is_looked_at_soon = False
        self._end_of_patience: asyncio.TimerHandle | None = None
        # Whether the thread is at work.
        self._is_busy = False
        # Those whose time may run out, in their order, and what looks after them: one timer for all.
        self._waiting: deque[_Asked[Item, Answer]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._inbox: queue.SimpleQueue[list[_Asked[Item, Answer]]] = queue.SimpleQueue()
        self._is_closed = False
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    async def ask(self, item: Item, deadline: float | None = None) -> Answer:
        """The answer to one item. Raises what answering it raised; TooLate after the deadline (of
        time.monotonic(); ANSWER_TIMEOUT from now unless it is given): the thread may still do what was
        asked, if it has begun."""
        return await self.answer_to(item, deadline)

    def answer_to(self, item: Item, deadline: float | None = None) -> "asyncio.Future[Answer]":
        """The same without waiting for it."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._asked:
            self._since = now
        asked: _Asked[Item, Answer] = _Asked(item, loop.create_future(), deadline or now + ANSWER_TIMEOUT)
        self._asked.append(asked)
        if not self._is_busy and not self._is_looked_at_soon:
            self._is_looked_at_soon = True
            loop.call_soon(self._look, loop)
        self._watch_over(asked, loop)
        return asked.answer

    def _watch_over(self, asked: _Asked[Item, Answer], loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting
        while waiting and waiting[0].answer.done():
            waiting.popleft()
        waiting.append(asked)
        if self._watch is None or asked.deadline < self._watch.when():
            self._wake_at(asked.deadline, loop)

    def _wake_at(self, moment: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = loop.call_at(moment, self._give_up_late, loop)

    def _give_up_late(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watch = None
        now = loop.time()
        left = [asked for asked in self._waiting if not asked.answer.done()]
        for asked in left:
            if asked.deadline <= now:
                asked.answer.set_exception(TooLate())
        self._waiting = deque(asked for asked in left if asked.deadline > now)
        if self._waiting:
            self._wake_at(min(asked.deadline for asked in self._waiting), loop)

    def close(self) -> None:
        """End the thread once all that was asked is answered."""
        self._is_closed = True
        self._hand_over()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand over what waits, or have it wait for others."""
        self._is_looked_at_soon = False
        if self._is_busy or not self._asked or self._hand_over_if_all_have_come():
            return
        moment = self._since + self.patience
        if moment <= loop.time():
            self._hand_over()
        elif self._end_of_patience is None:
            self._end_of_patience = loop.call_at(moment, self._hand_over_what_has_come)

    def _hand_over_what_has_come(self) -> None:
        self._end_of_patience = None
        if self._asked and not self._is_busy:
            self._hand_over()

    def _hand_over_if_all_have_come(self) -> bool:
        if self._is_busy or not self._asked or len(self._asked) < self.expected.number:
            return False
        self._hand_over()
        return True

    def _hand_over(self) -> None:
        if self._end_of_patience is not None:
            self._end_of_patience.cancel()
            self._end_of_patience = None
        asked, self._asked = self._asked, []
        self._is_busy = True
        self._inbox.put(asked)

    def _work(self) -> None:
        try:
            while not self._is_closed or not self._inbox.empty():
                asked = self._inbox.get()
                # Not what nobody waits for any more.
                batch = [each for each in asked if not each.answer.done()]
                answered = self._answer(batch) if batch else []
                # Before the loop learns of it, and then looks whether others have come.
                self._is_busy = False
                if asked:
                    self._tell_soon(answered, asked[0].answer.get_loop())
        finally:
            connections.close_all()

    def _answer(self, batch: Sequence[_Asked[Item, Answer]]) -> list[_Answered[Item, Answer]]:
        """The answers that are to be told yet."""
        try:
            return list(zip(batch, self._answers([asked.item for asked in batch]), strict=True))
        except Exception as error:
            if len(batch) == 1 or (isinstance(error, UNAVAILABLE) and not isinstance(error, TooLate)):
                return [(asked, error) for asked in batch]
            for asked in batch:
                if not asked.answer.done():
                    # Others may take long.
                    self._tell_soon(self._answer([asked]), asked.answer.get_loop())
            return []

    def _answers(self, items: Sequence[Item]) -> Sequence[Answer]:
        """The answers, perhaps after a wait until another process has written."""
        deadline = time.monotonic() + WRITE_TIMEOUT
        while True:
            try:
                return call_with_database(self.answer_all, items)
            except OperationalError as error:
                # A deadlock is over once one of the two has given in.
                may_try_again = is_locked(error) or has_waited_in_vain(error)
                if not may_try_again or time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)

    def _tell_soon(
        self, answered: Sequence[_Answered[Item, Answer]], loop: asyncio.AbstractEventLoop
    ) -> None:
        with suppress(RuntimeError):  # The loop has ended.
            loop.call_soon_threadsafe(self._tell, answered, loop)

    def _tell(self, answered: Sequence[_Answered[Item, Answer]], loop: asyncio.AbstractEventLoop) -> None:
        # The thread works on while these go on with what they have learned.
        self._look(loop)
        for asked, answer in answered:
            if asked.answer.done():
                continue
            if isinstance(answer, Exception):
                asked.answer.set_exception(answer)
            else:
                asked.answer.set_result(answer)
