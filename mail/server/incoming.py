"""Receiving a message after DATA, with bounds on its octets and its time."""

import asyncio
import time

from django.conf import settings

from mail.server.limits import MessageMemory

NO_ROOM = "452 4.3.1 Too many messages at once, try again later"
# Octets above the limit for the trace fields that a Postfix in front has added (RFC 5321 §4.4).
TRACE_MAX = 64 * 1024
# How many times the limit is read and thrown away, so that the client can read "too large".
DRAIN_FACTOR = 2
_END = b"\r\n.\r\n"


class EndlessMessage(Exception):
    """The message goes on long after its limit."""


class IncomingMessage:
    """One message while it is received.

    `refusal`: the reply that refuses it, "" as long as it is welcome. `deadline`: until when more of it must
    come, of time.monotonic(); None when it is complete.
    """

    def __init__(self, memory: MessageMemory, client: str, size_limit: int, too_large: str) -> None:
        self.refusal = ""
        self.deadline: float | None = time.monotonic() + settings.MAIL_PATIENCE
        self._memory, self._client = memory, client
        self._size_limit, self._too_large = size_limit + TRACE_MAX, too_large
        # One array, and large pieces: a million small ones would take many times their octets and their time.
        self._content = bytearray()

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Read to the end of the message, even if it is refused. Raises EndlessMessage."""
        # The line end of DATA itself comes before the message.
        reader._buffer[:0] = b"\r\n"  # type: ignore[attr-defined]
        size, is_complete = 0, False
        while not is_complete:
            try:
                piece = await reader.readuntil(_END)
                is_complete = True
            except asyncio.LimitOverrunError as error:
                piece = await reader.read(error.consumed)
            # Without the dots that were added for transparency alone.
            size += len(piece) - piece.count(b"\r\n.")
            self._extend_deadline(len(piece))
            if size > self._size_limit + len(_END):
                self._memory.release(self)
                self._refuse(self._too_large)
            elif not self.refusal:
                self._memory.hold(self, self._client, len(piece))
            if not self.refusal:
                self._content += piece
            elif size > self._size_limit * DRAIN_FACTOR:
                raise EndlessMessage
        self.deadline = None

    def complete(self) -> bytes:
        """The message without its end and its dots for transparency (RFC 5321 §4.5.2); it stays in memory."""
        self._memory.keep(self)
        content, self._content = self._content, bytearray()
        del content[-3:]
        return bytes(content.replace(b"\r\n.", b"\r\n")[2:])

    def release(self) -> None:
        """Nothing of the message is in memory any more."""
        self.deadline = None
        self._memory.release(self)
        self._content = bytearray()

    def give_way(self) -> None:
        """Others need the memory: drop what has come and what still comes."""
        self._refuse(NO_ROOM)

    def _refuse(self, answer: str) -> None:
        self.refusal = answer
        self._content.clear()

    def _extend_deadline(self, octets: int) -> None:
        """Move the deadline as if these octets had come at the least rate."""
        latest = time.monotonic() + settings.MAIL_PATIENCE
        self.deadline = min(latest, (self.deadline or latest) + octets / settings.MAIL_LEAST_RATE)
