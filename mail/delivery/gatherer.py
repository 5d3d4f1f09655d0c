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
# So many learn their answers before the loop looks again at what has come in: each of them then goes on with
# its message, and a new question would wait for them all.
TOLD_AT_ONCE = 4


class _Asked(Generic[Item, Answer]):
    __slots__ = ("answer", "deadline", "item")

    def __init__(self, item: Item, answer: "asyncio.Future[Answer]", deadline: float) -> None:
        self.item, self.answer, self.deadline = item, answer, deadline


class Expected:
    """How many are about to ask: each by the end of a block."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> None:
        self.number += 1

    def __exit__(self, *_error: object) -> None:
        self.number -= 1


class Gatherer(Generic[Item, Answer]):
    """Answers what is asked in one event loop, all that waits at once.

    `answer_all` takes the items, and either returns the answer to each, in their order, or raises. If the
    database is unavailable, all get that error; otherwise they are then answered one by one, so that only
    the one that cannot be answered fails.

    `patience`: seconds that those who wait go on waiting for others who are `expected`, as each of these says
    by a block; alone, nobody waits.
    """

    def __init__(
        self, name: str, answer_all: Callable[[Sequence[Item]], Sequence[Answer]], patience: float = 0
    ) -> None:
        self.answer_all = answer_all
        self.patience = patience
        self.expected = Expected()
        # What was asked in this round of the loop; and in earlier ones.
        self._asked: list[_Asked[Item, Answer]] = []
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
        if not self._asked:
            loop.call_soon(self._hand_over)
        deadline = deadline or loop.time() + ANSWER_TIMEOUT
        asked: _Asked[Item, Answer] = _Asked(item, loop.create_future(), deadline)
        self._asked.append(asked)
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

    def _hand_over(self) -> None:
        asked, self._asked = self._asked, []
        self._inbox.put(asked)

    def _work(self) -> None:
        try:
            while not self._is_closed or not self._inbox.empty():
                # Not what nobody waits for any more.
                batch = [asked for asked in self._gather() if not asked.answer.done()]
                if batch:
                    self._answer(batch)
        finally:
            connections.close_all()

    def _gather(self) -> list[_Asked[Item, Answer]]:
        """All that waits."""
        gathered = list(self._inbox.get())
        deadline = time.monotonic() + self.patience
        while True:
            left = deadline - time.monotonic() if len(gathered) < self.expected.number else 0
            try:
                gathered += self._inbox.get(block=left > 0, timeout=max(left, 0))
            except queue.Empty:
                if left <= 0:
                    return gathered

    def _answer(self, batch: Sequence[_Asked[Item, Answer]]) -> None:
        answers: list[Answer | Exception]
        try:
            answers = list(self._answers([asked.item for asked in batch]))
        except Exception as error:
            if len(batch) > 1 and (not isinstance(error, UNAVAILABLE) or isinstance(error, TooLate)):
                for asked in batch:
                    if not asked.answer.done():
                        self._answer([asked])
                return
            answers = [error] * len(batch)
        with suppress(RuntimeError):  # The loop has ended.
            loop = batch[0].answer.get_loop()
            loop.call_soon_threadsafe(_tell, deque(zip(batch, answers, strict=True)), loop)

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


def _tell(
    answered: deque[tuple[_Asked[Item, Answer], Answer | Exception]], loop: asyncio.AbstractEventLoop
) -> None:
    for _ in range(min(len(answered), TOLD_AT_ONCE)):
        asked, answer = answered.popleft()
        if asked.answer.done():
            continue
        if isinstance(answer, Exception):
            asked.answer.set_exception(answer)
        else:
            asked.answer.set_result(answer)
    if answered:
        loop.call_soon(_tell, answered, loop)
