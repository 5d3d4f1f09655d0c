"""What the policy, socket map and milter doors share: bounded connections, without incomplete questions."""

import asyncio
import logging
import time
from typing import ClassVar, cast

from mail.server.limits import Connections

logger = logging.getLogger(__name__)

# Seconds for a question to be complete, and between two questions: Postfix keeps idle connections
# (smtpd_policy_service_max_idle is 300, ipc_ttl 1,000).
QUESTION_TIMEOUT = 10.0
IDLE_TIMEOUT = 1200.0
# Octets of a question; Postfix's longest have a few hundred.
QUESTION_MAX = 16 * 1024


class Malformed(Exception):
    """What came is not the protocol. It gets no answer: Postfix then says "try later"."""


class QuestionDoor(asyncio.Protocol):
    """One connection of a request-and-answer protocol. It answers one question at a time, in their order."""

    name: ClassVar[str]
    question_max: ClassVar[int] = QUESTION_MAX
    transport: asyncio.Transport

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self._received = bytearray()
        self._answering: asyncio.Task[None] | None = None
        self._is_unread = False
        self._must_end = False
        self._got_eof = False
        self._since = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle_timeout(self) -> float:
        """Seconds between two questions."""
        return IDLE_TIMEOUT

    def split(self, received: bytearray) -> tuple[bytes, int] | None:
        """The first question in what was received, and the octets that it takes; None if it is incomplete.
        Raises Malformed, as do the next two."""
        raise NotImplementedError

    def answer_now(self, question: bytes) -> bytes | None:
        """The octets of an answer that needs no database; None if it needs it."""
        raise NotImplementedError

    async def answer(self, question: bytes) -> bytes:
        """The octets of the answer."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.connections.admit(self, transport):
            self._check_time()
        else:
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.connections.gone(self)
        self._received.clear()
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        if not self._received:
            self._since = time.monotonic()
        self._received += data
        if self._answering is None:
            self._answer_questions()
        elif len(self._received) > self.question_max:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Answer what was asked before the end."""
        self._got_eof = True
        return self._answering is not None

    def pause_writing(self) -> None:
        """Read no more questions while our answers are not read."""
        self._is_unread = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_unread = False
        self._answer_questions()

    def end_soon(self) -> None:
        """Hang up: at once, or after the answer to the question that is looked up."""
        self._must_end = True
        if self._answering is None:
            self.transport.close()

    def _answer_questions(self) -> None:
        try:
            while self._received and self._answering is None and not self._is_unread:
                found = self.split(self._received)
                if found is None:
                    if len(self._received) > self.question_max:
                        raise Malformed
                    break
                question, size = found
                del self._received[:size]
                self._since = time.monotonic()
                answer = self.answer_now(question)
                if answer is None:
                    self._answering = asyncio.get_running_loop().create_task(self._answer(question))
                elif answer:
                    # A protocol may have questions without an answer.
                    self._write(answer)
        except Malformed:
            self._hang_up()
        else:
            if self._answering is None and not self._is_unread:
                self._go_on()

    def _go_on(self) -> None:
        if self._got_eof:
            self.transport.close()
        else:
            self.transport.resume_reading()

    async def _answer(self, question: bytes) -> None:
        try:
            answer = await self.answer(question)
        except Malformed:
            self._answering = None
            self._hang_up()
            return
        self._answering = None
        self._write(answer)
        if self._must_end:
            self.transport.close()
        else:
            self._answer_questions()

    def _write(self, answer: bytes) -> None:
        self._since = time.monotonic()
        self.transport.write(answer)

    def _hang_up(self) -> None:
        logger.warning("%s door: malformed request", self.name)
        self.end_soon()

    def _check_time(self) -> None:
        """End a connection that has been idle for too long; otherwise check again when it would be."""
        is_urgent = (self._received and self._answering is None) or self.transport.is_closing()
        limit = QUESTION_TIMEOUT if is_urgent else self.idle_timeout
        left = self._since + limit - time.monotonic()
        if left <= 0:
            # close() would wait until the answers are read.
            self.transport.abort()
            return
        # A question may begin at any time, and has less time.
        wait = max(0.01, min(left, QUESTION_TIMEOUT))
        self._timer = asyncio.get_running_loop().call_later(wait, self._check_time)
