"""The client's side of one SMTP connection: one message after the other, to one recipient each."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import aiosmtplib

from mail.delivery.message import PIECE, Octets, is_ascii, needs_utf8
from mail.delivery.timer import Timer

TIMEOUT = 30  # seconds, for each step
BODY_TIMEOUT = 120  # seconds, for what follows DATA
REPLY_MAX = 64 * 1024  # octets
# Twice: two of the same kind may share a line end, and the first round finds every other one.
_FALSE_ENDS = (b"\r.\r", b"\r.\n", b"\n.\r", b"\n.\n") * 2


def stuffed(message: Octets, top: bytes = b"") -> Iterator[bytes]:
    """What follows DATA (RFC 5321 §4.1.1.4), in pieces: `top` and the message, with their dots doubled after
    CRLF alone.

    A lone dot after a bare LF or CR ends the data for a server that is lax about line ends; what follows
    would be commands there. Those lines alone get a dot more than they had.
    """
    if (top or message)[:1] == b".":
        yield b"."
    before = b""
    for begin in range(0, len(message) or 1, PIECE):
        end = begin + PIECE
        own = bytes(message[begin:end]) if begin else top + message[:end]
        # What is beside the piece decides about the piece's own dots. At the end of the message, CRLF is.
        after = bytes(message[end : end + 1]).replace(b".", b"x") or b"\r"
        piece = before.replace(b".", b"x") + own + after
        if b"\n." in piece or b"\r." in piece:
            piece = piece.replace(b"\r\n.", b"\r\n..")
            for false_end in _FALSE_ENDS:
                piece = piece.replace(false_end, false_end.replace(b".", b".."))
        yield piece[len(before) : -1]
        before = (before + own[-2:])[-2:]
    yield b".\r\n" if before == b"\r\n" else b"\r\n.\r\n"


class Mail(NamedTuple):
    """A message to one recipient, as NextHop.send takes it."""

    sender: str
    recipient: str
    message: Octets
    top: bytes
    utf8: bool

    @property
    def size(self) -> int:
        return len(self.top) + len(self.message)

    @property
    def is_ascii(self) -> bool:
        return is_ascii(self.top) and is_ascii(self.message)

    async def needs_utf8(self) -> bool:
        """Whether it has to be sent with SMTPUTF8. Asked for by clients that need it for none of this: from
        what is sent follows what is needed."""
        if not (self.sender + self.recipient).isascii():
            return True
        return self.utf8 and await asyncio.to_thread(needs_utf8, self.message, self.top)


class Reply(NamedTuple):
    """A reply (RFC 5321 §4.2): its text without the codes."""

    code: int
    text: bytes


class Connection(asyncio.Protocol):
    """A connection over which mail is sent.

    aiosmtplib has opened it (greeting, TLS, AUTH); it would send the envelope a command at a time, and
    change line ends.
    """

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self.extensions = frozenset(client.esmtp_extensions)
        loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[None] = loop.create_future()
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._octets = 0  # of these lines
        # Replies that are still to come: there are no others.
        self._due = 0
        self._replies: deque[Reply] = deque()
        # Somebody waits until there is something to read, or the connection takes more.
        self._waiter: asyncio.Future[None] | None = None
        self._timer = Timer(self._give_up)
        self._is_full = False
        self.is_in_data = False
        if client.transport is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        self._transport = cast(asyncio.Transport, client.transport)
        self._transport.set_protocol(self)

    @property
    def is_usable(self) -> bool:
        """Whether it can be used once more: the server has not hung up, and said nothing that we did not ask
        for."""
        has_left_over = self._due or self._buffer or self._lines or self._replies
        return not (self._lost.done() or self._transport.is_closing() or has_left_over)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            self._lines.append(line[4:])
            self._octets += end + 1
            if line[3:4] != b"-":
                self._take_reply(int(line[:3]) if line[:3].isdigit() else 0)
        if len(self._buffer) + self._octets > REPLY_MAX:
            self._transport.abort()
        self._wake()

    def _take_reply(self, code: int) -> None:
        if self._due:
            self._due -= 1
            self._replies.append(Reply(code, b"\n".join(self._lines)))
        else:
            # The next command would find it, and take it for its own.
            self._transport.abort()
        self._lines, self._octets = [], 0

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        self._lost.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, deadline: float) -> None:
        """Wait until something has happened. Raises OSError if the connection is lost, or after the deadline
        (of the loop's time)."""
        if self._lost.done():
            raise ConnectionResetError
        self._waiter = asyncio.get_running_loop().create_future()
        self._timer.set(deadline)
        try:
            await self._waiter
        finally:
            self._timer.stop()

    def _give_up(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    async def close(self) -> None:
        self._transport.abort()
        await self._lost

    async def reply(self) -> Reply:
        """The next reply. Raises OSError if none comes."""
        deadline = asyncio.get_running_loop().time() + TIMEOUT
        while not self._replies:
            await self._wait(deadline)
        return self._replies.popleft()

    def _say(self, octets: bytes, replies: int = 1) -> None:
        """Send what so many replies answer. Raises OSError if there are others to be read: then nobody knows
        what they answer."""
        if not self.is_usable:
            raise ConnectionResetError
        self._due = replies
        self._transport.write(octets)

    async def command(self, line: str) -> Reply:
        self._say(f"{line}\r\n".encode())
        return await self.reply()

    async def reset(self) -> None:
        """Make it ready for another message; if that is not possible, close it."""
        try:
            is_ready = 200 <= (await self.command("RSET")).code < 300
        except OSError:
            is_ready = False
        if not is_ready:
            await self.close()

    async def envelope(self, sender: str, recipient: str, options: Sequence[str]) -> tuple[str, Reply]:
        """MAIL, RCPT and DATA, in one go where the server allows it (RFC 2920): the command that was
        answered last (the one that was refused, if any was), and its answer."""
        lines = [f"MAIL FROM:<{sender}> {' '.join(options)}".rstrip(), f"RCPT TO:<{recipient}>", "DATA"]
        if "pipelining" not in self.extensions:
            for line in lines:
                answer = await self.command(line)
                if not 200 <= answer.code < 400:
                    break
            return line[:4], answer
        self._say("".join(f"{line}\r\n" for line in lines).encode(), len(lines))
        answers = [(line[:4], await self.reply()) for line in lines]
        refusals = [answer for answer in answers[:2] if not 200 <= answer[1].code < 300]
        if refusals and answers[2][1].code == 354:
            # It takes data for nobody (RFC 2920 §3.1 allows it): an empty message ends that.
            await self.command(".")
        return refusals[0] if refusals else answers[2]

    async def send_octets(self, mail: Mail) -> Reply:
        """What follows DATA. Raises OSError if the server accepts the message before it has all of it."""
        self.is_in_data = True
        pieces = stuffed(mail.message, mail.top)
        if mail.size <= PIECE:
            self._say(b"".join(pieces))
            answer = await self.reply()
            self.is_in_data = False
            return answer
        deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT
        self._say(b"")
        for piece in pieces:
            if self._replies:
                # It has heard enough; what we say now is still data for it.
                answer = await self.reply()
                await self.close()
                if answer.code < 400:
                    raise ConnectionResetError
                return answer
            self._transport.write(piece)
            # Others have their turn after each piece.
            await asyncio.sleep(0)
            while self._is_full and not self._replies:
                await self._wait(deadline)
        answer = await self.reply()
        self.is_in_data = False
        return answer
