"""Receiving a message after DATA, with bounds on its octets and its time."""

import asyncio
import time
from io import BytesIO
from typing import Any

from django.conf import settings

from mail.server.limits import LARGE_PATIENCE, MessageMemory

NO_ROOM = "452 4.3.1 Too many messages at once, try again later"
# Octets above the limit for the trace fields that a Postfix in front has added (RFC 5321 §4.4).
TRACE_MAX = 64 * 1024
# How many times the limit is read and thrown away, so that the client can read "too large".
DRAIN_FACTOR = 2
# Octets from which our own mail server's messages come in one after the other.
LARGE = 1024 * 1024
# Octets that are taken at once of what has come; and how many come before the connection pauses. With the
# limit for commands, it would pause and go on for each message.
_PIECE = 256 * 1024
_WAITING = 16 * 1024
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
        # Hands its octets out without a copy of them.
        self._content = BytesIO()
        # Strangers' messages would wait for each other: they share the memory instead.
        self._must_wait = not client

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Read to the end of the message, even if it is refused. Raises EndlessMessage."""
        own: Any = reader
        # asyncio lets twice its limit come.
        limit, own._limit = own._limit, max(own._limit, _WAITING // 2)
        try:
            await self._read(reader)
        finally:
            own._limit = limit

    async def _read(self, reader: asyncio.StreamReader) -> None:
        # The line end of DATA itself comes before the message.
        unread, begin = b"\r\n", len(b"\r\n")
        size, kept_back, is_complete = 0, b"", False
        while not is_complete:
            new = await reader.read(_PIECE)
            if not new:
                raise asyncio.IncompleteReadError(unread, None)
            come = unread + new
            end = come.find(_END)
            is_complete = end >= 0
            # The beginning of its end may have come; or what follows the message.
            split = end + len(_END) if is_complete else max(0, len(come) + 1 - len(_END))
            piece, unread = come[:split], come[split:]
            self._extend_deadline(len(piece))
            octets, kept_back = _without_dots(kept_back + piece)
            octets, begin = octets[begin:], max(0, begin - len(octets))
            size += len(octets)
            if self._must_wait and size > LARGE:
                await self._wait_for_turn()
            if size > self._size_limit:
                self._memory.release(self)
                self._refuse(self._too_large)
            elif not self.refusal:
                self._memory.hold(self, self._client, len(piece))
            if not self.refusal:
                self._content.write(octets)
            elif size > self._size_limit * DRAIN_FACTOR:
                raise EndlessMessage
        reader._buffer[:0] = unread  # type: ignore[attr-defined]
        self.deadline = None

    async def _wait_for_turn(self) -> None:
        self._must_wait = False
        self.deadline = time.monotonic() + LARGE_PATIENCE + settings.MAIL_PATIENCE
        await self._memory.wait_for_turn(self)
        self.deadline = time.monotonic() + settings.MAIL_PATIENCE

    def complete(self) -> bytes:
        """The message without its end and its dots for transparency (RFC 5321 §4.5.2); it stays in memory."""
        self._memory.keep(self)
        content, self._content = self._content, BytesIO()
        return content.getvalue()

    def release(self) -> None:
        """Nothing of the message is in memory any more."""
        self.deadline = None
        self._memory.release(self)
        self._content = BytesIO()

    def give_way(self) -> None:
        """Others need the memory: drop what has come and what still comes."""
        self._refuse(NO_ROOM)

    def _refuse(self, answer: str) -> None:
        self.refusal = answer
        self._content = BytesIO()

    def _extend_deadline(self, octets: int) -> None:
        """Move the deadline as if these octets had come at the least rate."""
        latest = time.monotonic() + settings.MAIL_PATIENCE
        self.deadline = min(latest, (self.deadline or latest) + octets / settings.MAIL_LEAST_RATE)


def _without_dots(octets: bytes) -> tuple[bytes, bytes]:
    """The octets without the dots that were added for transparency, and the line end after them, which may be
    the one before such a dot."""
    kept_back = b"\r\n" if octets.endswith(b"\r\n") else octets[-1:] if octets.endswith(b"\r") else b""
    return octets.removesuffix(kept_back).replace(b"\r\n.", b"\r\n"), kept_back
