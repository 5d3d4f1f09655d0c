"""Where forwarded mail goes: an SMTP server (Postfix's re-injection port, a smarthost), or a Maildir."""

import asyncio
import itertools
import os
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, cast
from urllib.parse import unquote, urlsplit

import aiosmtplib
from django.conf import settings

from mail.delivery.message import needs_utf8

TIMEOUT = 30  # seconds, for each step
BODY_TIMEOUT = 120  # seconds, for what follows DATA
REPLY_MAX = 64 * 1024  # octets
# Octets of a message that are written at once.
PIECE = 256 * 1024
# Twice: two of the same kind may share a line end, and the first round finds every other one.
_FALSE_ENDS = (b"\r.\r", b"\r.\n", b"\n.\r", b"\n.\n") * 2
# An enhanced status is the first word after the reply code (RFC 2034 §4), and only there: an address in
# the text that follows can look like one.
_ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?!\S)")
# What a smarthost says to a client that has not signed in, or may not send through it: RFC 4954 §6, RFC
# 5248. None of it is about the destination.
_NOT_LET_IN_CODES = {530, 534, 535, 538}
_NOT_LET_IN_STATUSES = {"5.7.8", "5.7.9", "5.7.11", "5.7.12", "5.7.14"}
_NOT_LET_IN = re.compile(
    r"\brelay(ing)?\b.{0,40}\b(denied|prohibited|refused|disallowed|not (permitted|allowed))"
    r"|\b(not|cannot|can't|unable to|don't) relay\b|\bauthenticat\w+ (is )?(required|needed|first)",
    re.IGNORECASE | re.DOTALL,
)
# Refusals of MAIL that are about the message: it is too large (RFC 1870 §6.1), or would need a conversion.
_ABOUT_THE_MESSAGE = {"5.2.3", "5.3.4", "5.6.3", "5.6.7"}


@dataclass(frozen=True)
class Accepted:
    """The next hop has taken responsibility (RFC 5321 §6.1)."""


@dataclass(frozen=True)
class Refused:
    """The next hop refuses for good. `status` is an enhanced status code (RFC 3463), `words` its own."""

    status: str
    words: str = field(default="", compare=False)


@dataclass(frozen=True)
class Pending:
    """Not now: the message stays where it is, and is tried again."""

    reason: str
    is_ours: bool = False  # nor later, until somebody changes this site's configuration


Outcome = Accepted | Refused | Pending


class NextHop(Protocol):
    """Takes messages on, in one event loop."""

    async def send(self, sender: str, recipient: str, message: bytes, *, utf8: bool = False) -> Outcome:
        """Hand one message over, to one recipient; `sender` is "" for the null sender."""

    async def close(self) -> None:
        """Let go of what is kept between messages."""


class Maildir:
    """Writes each message as a file into a Maildir, durably."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers = itertools.count(1)

    async def send(self, sender: str, recipient: str, message: bytes, *, utf8: bool = False) -> Outcome:
        try:
            envelope = f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\n".encode()
            await asyncio.to_thread(self._write, envelope, message)
        except OSError as error:
            return Pending(f"maildir: {error.strerror}")
        return Accepted()

    async def close(self) -> None:
        """Nothing is kept."""

    def _write(self, *parts: bytes) -> None:
        for name in ("tmp", "new", "cur"):
            (self.path / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        host = socket.gethostname().replace("/", "_")
        name = f"{time.time_ns()}.P{os.getpid()}Q{next(self._numbers)}.{host}"
        temporary = self.path / "tmp" / name
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.path / "new" / name)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        directory = os.open(self.path / "new", os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def stuffed(message: bytes) -> Iterator[bytes]:
    """What follows DATA (RFC 5321 §4.1.1.4), in pieces: the message with its dots doubled after CRLF alone.

    A lone dot after a bare LF or CR ends the data for a server that is lax about line ends; what follows
    would be commands there. Those lines alone get a dot more than they had.
    """
    if message.startswith(b"."):
        yield b"."
    for begin in range(0, len(message), PIECE):
        end = begin + PIECE
        # What is beside the piece decides about the piece's own dots. At the end of the message, CRLF is.
        before = message[max(0, begin - 2) : begin].replace(b".", b"x")
        after = message[end : end + 1].replace(b".", b"x") or b"\r"
        piece = (before + message[begin:end] + after).replace(b"\r\n.", b"\r\n..")
        for false_end in _FALSE_ENDS:
            piece = piece.replace(false_end, false_end.replace(b".", b".."))
        yield piece[len(before) : -1]
    yield b".\r\n" if message.endswith(b"\r\n") else b"\r\n.\r\n"


class _Reply(NamedTuple):
    """A reply (RFC 5321 §4.2): its text without the codes."""

    code: int
    text: bytes


class _Connection(asyncio.Protocol):
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
        self._replies: deque[_Reply] = deque()
        # Somebody waits until there is something to read, or the connection takes more.
        self._waiter: asyncio.Future[None] | None = None
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
            self._replies.append(_Reply(code, b"\n".join(self._lines)))
        else:
            # The next command would find it, and take it for its own.
            self._transport.abort()
        self._lines, self._octets = [], 0

    def connection_lost(self, error: Exception | None) -> None:
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
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_at(deadline, _give_up, waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    async def close(self) -> None:
        self._transport.abort()
        await self._lost

    async def reply(self) -> _Reply:
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

    async def command(self, line: str) -> _Reply:
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

    async def envelope(self, sender: str, recipient: str, options: Sequence[str]) -> tuple[str, _Reply]:
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

    async def send_octets(self, message: bytes) -> _Reply:
        """What follows DATA. Raises OSError if the server accepts the message before it has all of it."""
        self.is_in_data = True
        if len(message) <= PIECE:
            self._say(b"".join(stuffed(message)))
            answer = await self.reply()
            self.is_in_data = False
            return answer
        deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT
        self._say(b"")
        for piece in stuffed(message):
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


def _give_up(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


@dataclass(eq=False, repr=False)
class SmtpHop:
    """Sends through an SMTP server over connections that are kept: as many as are used at once."""

    host: str
    port: int
    tls: str = ""
    user: str = ""
    password: str = ""
    hostname: str = ""
    # A PEM file of those who may vouch for its certificate, "" for the system's; OSError if it is unreadable.
    authorities: str = ""

    def __post_init__(self) -> None:
        # Its certificate must be signed by one of them, and name the host that we connect to.
        self._context = ssl.create_default_context(cafile=self.authorities or None) if self.tls else None
        self._kept: list[_Connection] = []

    async def close(self) -> None:
        """Close the connections, once nothing is sent any more."""
        while self._kept:
            await self._kept.pop().close()

    async def send(self, sender: str, recipient: str, message: bytes, *, utf8: bool = False) -> Outcome:
        what = (sender, recipient, message, utf8)
        if kept := await self._take_kept():
            try:
                return await self._send_over(kept, *what)
            except (OSError, aiosmtplib.SMTPException) as error:
                # It may have gone stale with a restart of the server: then once more, over a new one. Not if
                # the server went on to the data: it may have taken the message.
                if kept.is_in_data:
                    return Pending(*_why_not(error))
        try:
            return await self._send_over(await self._connect(), *what)
        except (OSError, aiosmtplib.SMTPException) as error:
            return Pending(*_why_not(error))

    async def _send_over(
        self, connection: _Connection, sender: str, recipient: str, message: bytes, utf8: bool
    ) -> Outcome:
        try:
            outcome = await self._transaction(connection, sender, recipient, message, utf8)
        except BaseException:
            await connection.close()
            raise
        self._kept.append(connection)
        return outcome

    async def _take_kept(self) -> _Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if connection.is_usable:
                return connection
            await connection.close()
        return None

    async def _connect(self) -> _Connection:
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            local_hostname=self.hostname or None,
            timeout=TIMEOUT,
            use_tls=self.tls == "smtps",
            start_tls=False,
            tls_context=self._context,
        )
        await client.connect()
        try:
            if self.tls == "starttls":
                await client.starttls()
            try:
                await client.ehlo()
            except aiosmtplib.SMTPHeloError:
                await client.helo()
            if self.user:
                await client.login(self.user, self.password)
            return _Connection(client)
        except BaseException:
            client.close()
            raise

    async def _transaction(
        self, connection: _Connection, sender: str, recipient: str, message: bytes, utf8: bool
    ) -> Outcome:
        options = []
        if "8bitmime" in connection.extensions and not message.isascii():
            options.append("BODY=8BITMIME")
        # Asked for by clients that need it for none of this: from what is sent follows what is needed.
        if not (sender + recipient).isascii() or (utf8 and await asyncio.to_thread(needs_utf8, message)):
            if "smtputf8" not in connection.extensions:
                return Refused("5.6.7")
            options.append("SMTPUTF8")
        if "size" in connection.extensions:
            options.append(f"SIZE={len(message)}")
        command, answer = await connection.envelope(sender, recipient, options)
        if command == "DATA" and answer.code == 354:
            command, answer = ".", await connection.send_octets(message)
        if command == "." and 200 <= answer.code < 300:
            return Accepted()
        if answer.code == 421 or answer.code < 400:
            await connection.close()
            return Pending(str(answer.code))
        await connection.reset()
        if answer.code < 500:
            return Pending(str(answer.code))
        return _refusal(command, answer.code, answer.text.decode("utf-8", "replace"))


def _why_not(error: Exception) -> tuple[str, bool]:
    """A failed connection's reason, and whether it will fail until somebody changes the configuration."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        # A greeting of 554, EHLO refused, AUTH refused.
        return f"{type(error).__name__} {error.code}", error.code >= 500
    if type(error) is aiosmtplib.SMTPException:
        # It offers no STARTTLS, or no AUTH that we know.
        return error.message, True
    cause = error.__cause__ if isinstance(error, aiosmtplib.SMTPConnectError) else None
    reason = cause or error
    return type(reason).__name__, isinstance(reason, ssl.SSLCertVerificationError)


def enhanced_status(words: str) -> str:
    """The enhanced status (RFC 3463) at the start of a reply's text; "" if there is none."""
    found = _ENHANCED.match(words)
    return found[1] if found else ""


def _refusal(command: str, code: int, words: str) -> Outcome:
    """What a 5xx to that command says: of the destination and the message, or of this site."""
    status = enhanced_status(words)
    status = status if status.startswith("5") else ""
    is_about_us = code in _NOT_LET_IN_CODES or status in _NOT_LET_IN_STATUSES
    # After the data, these words are about whoever wrote the message (DMARC, say).
    is_about_us |= command != "." and _NOT_LET_IN.search(words) is not None
    # RFC 5321 §4.1.1.2: what is refused there is the sender, an address of ours.
    is_about_us |= command == "MAIL" and status not in _ABOUT_THE_MESSAGE and code != 552
    if is_about_us:
        return Pending(" ".join(part for part in (command, str(code), status) if part), is_ours=True)
    return Refused(status or "5.0.0", f"{code} {words}")


_FORMS = (
    "Write MAIL_NEXT_HOP as maildir:///path, smtp://host:port, smtps://host:port or "
    "smtp+starttls://user:password@host:port."
)


def next_hop_from(url: str, hostname: str, authorities: str = "") -> NextHop:
    """The next hop that MAIL_NEXT_HOP names, with MAIL_NEXT_HOP_CA as its `authorities`. Raises ValueError,
    whose text says what to write; OSError if that file cannot be read."""
    parts = urlsplit(url)
    if parts.scheme == "maildir":
        if parts.netloc or not parts.path.startswith("/"):
            # maildir://var/mail names a host `var` and the folder /mail there.
            raise ValueError("Write the whole path of a Maildir after three slashes: maildir:///srv/mail.")
        return Maildir(Path(unquote(parts.path)))
    tls = {"smtp": "", "smtps": "smtps", "smtp+starttls": "starttls"}.get(parts.scheme)
    try:
        port = parts.port
    except ValueError:
        # Its own text has a part of the URL, which may be one of the password.
        raise ValueError(_FORMS) from None
    if tls is None or not parts.hostname:
        raise ValueError(_FORMS)
    user, password = (unquote(part or "") for part in (parts.username, parts.password))
    if set(user + password) & {"\0", "\ufffd"}:
        raise ValueError(
            "MAIL_NEXT_HOP: write the characters of user and password that are not letters or digits as %XX,"
            " in UTF-8."
        )
    port = port or {"": 25, "smtps": 465, "starttls": 587}[tls]
    return SmtpHop(parts.hostname, port, tls, user, password, hostname, authorities)


def configured_next_hop() -> NextHop:
    """The next hop of the settings. Raises as `next_hop_from` does."""
    return next_hop_from(settings.MAIL_NEXT_HOP, settings.MAIL_HOSTNAME, settings.MAIL_NEXT_HOP_CA)


def send_once(hop: NextHop, sender: str, recipient: str, message: bytes, *, utf8: bool = False) -> Outcome:
    """Hand one message over from where there is no event loop."""

    async def send() -> Outcome:
        try:
            return await hop.send(sender, recipient, message, utf8=utf8)
        finally:
            await hop.close()

    return asyncio.run(send())
