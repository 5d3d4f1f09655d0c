"""The SMTP door: it takes mail for aliases, and accepts a message only when the next hop has accepted it.

aiosmtpd speaks the protocol, and `mail.server.smtp_handler` says what is answered.
"""

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import Callable
from typing import Any, AnyStr, cast

import aiosmtpd.smtp
from aiosmtpd.smtp import SMTP, syntax
from django.conf import settings

from mail.delivery.handover import Answer, Message
from mail.delivery.resolve import Resolution
from mail.delivery.timer import Timer
from mail.server import limits
from mail.server.incoming import EndlessMessage, IncomingMessage
from mail.server.smtp_handler import SmtpEnvelope, SmtpHandler, SmtpSession, method_names

# aiosmtpd's own lines are never written (core.logs), but each is made twice for a command.
aiosmtpd.smtp.sanitized_log = lambda *_line: None

TOO_MANY_CONNECTIONS = "421 4.3.2 Too many connections, try again later"
TOO_LARGE = "552 5.3.4 Message too large"
TOO_SLOW = "421 4.4.2 Timeout, try again later"

# The answers to commands after which a client may write the next one at once, MAIL and RCPT above all.
ACCEPTING = b"250 "

# Octets of MAIL and RCPT: extensions may need more than the 512 of RFC 5321 §4.5.3.1.4 (SMTPUTF8, SIZE).
COMMAND_MAX = 1024
# How often one connection may give a command. A sender that keeps its connection sends many messages.
COMMANDS_MAX = {"*": 10_000, "RCPT": 100_000, "MAIL": 100_000, "DATA": 100_000, "RSET": 100_000}
# Seconds for the next command (RFC 5321 §4.5.3.2.7), and for our own answer to DATA.
COMMAND_TIMEOUT = 300.0
ANSWER_TIMEOUT = 900.0
# Seconds in which a client that is out of time may read our last reply.
FAREWELL_TIME = 1.0
# For which a client that has just come, or has begun a message, may go on while the server stops.
LAST_MESSAGE_TIME = 2.0
# The everyday form of a Path (RFC 5321 §4.1.2): a Dot-string, a domain without comments or literals.
PATH = re.compile(r"<([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+)>(?: +(.*))?")


class SmtpDoor(SMTP):
    """One connection: aiosmtpd's server with bounded memory, and without VRFY, EXPN, HELP and AUTH."""

    too_large = TOO_LARGE
    command_max = COMMAND_MAX
    session: SmtpSession | None
    envelope: SmtpEnvelope | None
    _timeout_handle: Timer | None  # type: ignore[assignment]

    def __init__(
        self, handler: SmtpHandler, connections: limits.Connections, tls_context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(
            handler,
            data_size_limit=settings.MAIL_SIZE_LIMIT,
            enable_SMTPUTF8=True,
            hostname=settings.MAIL_HOSTNAME,
            ident="Anonmail",
            tls_context=tls_context,
            timeout=COMMAND_TIMEOUT,
            command_call_limit=COMMANDS_MAX,
            loop=asyncio.get_running_loop(),
        )
        self.handler = handler
        self.connections = connections
        self.answered: tuple[Message, Resolution] | None = None
        self._incoming: IncomingMessage | None = None
        # Lines of answers that go out with the next one.
        self._unsent = b""
        self._is_answering = False
        self._must_end = False
        self._has_taken = False
        # The client has closed its half of the connection; and all that it said before is answered.
        self._got_eof = False
        self._is_finished = False
        for command in ("MAIL", "RCPT"):
            self.command_size_limits[command] = self.command_max

    def __dir__(self) -> list[str]:
        return method_names(cast(Any, type(self)), ("smtp_",))

    def _create_session(self) -> SmtpSession:
        return SmtpSession(self.loop)

    def _create_envelope(self) -> SmtpEnvelope:
        return SmtpEnvelope()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # STARTTLS makes the connection a second time, over another transport: it is still one.
        if self.connections.admit(self, transport):
            super().connection_made(transport)
        elif isinstance(transport, asyncio.Transport):
            transport.write(TOO_MANY_CONNECTIONS.encode() + b"\r\n")
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.connections.gone(self)
        if self.session is not None:
            with contextlib.suppress(AssertionError):
                super().connection_lost(error)

    async def push(self, status: AnyStr) -> None:
        """Write an answer; once its message is acknowledged, that need not be recognised any more."""
        if self._is_finished:
            self._close()
            raise asyncio.CancelledError
        answered, self.answered = self.answered, None
        line = status.encode() if isinstance(status, str) else status
        self._unsent += line + b"\r\n"
        if answered is None:
            # What is certain to be followed by more goes out with that (RFC 2920 §3.2): one packet, and the
            # client is woken once.
            is_followed = line[3:4] == b"-" or (line.startswith(ACCEPTING) and self._is_pipelined())
            # Whoever has handed over a message waits for nothing else.
            if self._is_answering or not is_followed:
                await self._write_unsent()
            return
        message, resolution = answered
        forgotten, is_there = self.handler.expect_to_forget(resolution), False
        try:
            await self._write_unsent()
            # Whoever has closed one half of the connection may have closed the other one too.
            is_there = self.transport is not None and not self.transport.is_closing() and not self._got_eof
        finally:
            if is_there:
                self.handler.forget(message, resolution, forgotten)
            else:
                forgotten.set_result(None)

    async def _write_unsent(self) -> None:
        octets, self._unsent = self._unsent, b""
        self._writer.write(octets)
        await self._writer.drain()

    def _is_pipelined(self) -> bool:
        """Whether the next command has come already."""
        return b"\n" in self._reader._buffer  # type: ignore[attr-defined]

    def eof_received(self) -> bool:
        """Go on answering a client that has closed its half: it may still read. Not over TLS, where asyncio
        has no half-closed connections."""
        if self.session is None or self.session.ssl is not None:
            super().eof_received()
            return False
        self._got_eof = True
        # aiosmtpd's own ends the connection.
        asyncio.StreamReaderProtocol.eof_received(self)
        return True

    async def handle_exception(self, error: Exception) -> str:
        """The answer to an error. If nothing more can be read, pushing it ends the connection."""
        if isinstance(error, asyncio.IncompleteReadError):
            self._is_finished = True
            return ""
        return await super().handle_exception(error)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """The address at the start of the text, and what follows it.

        aiosmtpd's own reads all of RFC 5322's grammar, at an eighth of the time that a message costs.
        """
        if match := PATH.fullmatch(arg):
            return match[1], match[2] or ""
        return super()._getaddr(arg)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Give the connection that many seconds from now. aiosmtpd's own makes a timer for each command."""
        if self._timeout_handle is None:
            self._timeout_handle = Timer(self._timeout_cb)
        self._timeout_handle.set(self.loop.time() + (duration or self._timeout_duration))

    def _timeout_cb(self) -> None:
        """End the connection, unless the message has come on meanwhile; even if its client does not read."""
        deadline = self._incoming.deadline if self._incoming else None
        if deadline is not None and (left := deadline - time.monotonic()) > 0:
            self._reset_timeout(left)
            return
        transport = self.transport
        if not isinstance(transport, asyncio.Transport):
            return
        if transport.get_write_buffer_size():
            # close() would wait for that.
            transport.abort()
            return
        transport.write(TOO_SLOW.encode() + b"\r\n")
        transport.close()
        asyncio.get_running_loop().call_later(FAREWELL_TIME, transport.abort)

    def end_soon(self) -> None:
        """Hang up: at once between two messages, otherwise after the answer for the first or the present one.

        Whoever says nothing meanwhile has LAST_MESSAGE_TIME.
        """
        self._must_end = True
        has_begun = self.envelope is not None and self.envelope.mail_from is not None
        if self._has_taken and not has_begun:
            self._end_unless_answering()
        else:
            self.loop.call_later(LAST_MESSAGE_TIME, self._end_unless_answering)

    def _end_unless_answering(self) -> None:
        if not self._is_answering:
            self._close()

    def end_after_answer(self) -> None:
        """Hang up after the answer that is about to be written."""
        asyncio.get_running_loop().call_soon(self._close)

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        """Read the message (RFC 5321 §4.1.1.4), in pieces instead of lines, and answer for it.

        aiosmtpd's own keeps all of a line that never ends, and refuses one of more than its limit.
        """
        if await self.check_helo_needed():
            return
        if self.envelope is None or not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 Error: need RCPT command")
            return
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        client = self.session.limited_client if self.session is not None else ""
        limit = int(self.data_size_limit or 0)
        incoming = self._incoming = IncomingMessage(self.handler.memory, client, limit, self.too_large)
        self._reset_timeout(settings.MAIL_PATIENCE)
        try:
            await incoming.read(self._reader)
            self._reset_timeout(ANSWER_TIMEOUT)
            end_turn = await self.handler.turns.take(client)
        except EndlessMessage as error:
            incoming.release()
            await self.push(self.too_large)
            self._close()
            raise asyncio.CancelledError from error
        except BaseException:
            incoming.release()
            raise
        self._is_answering = self._has_taken = True
        # In a task of its own: if the client hangs up, memory and turn are kept until the message is done.
        answering = self.loop.create_task(self._answer(incoming, end_turn))
        try:
            status = await asyncio.shield(answering)
            self._reset_timeout()
            self._set_post_data_state()  # type: ignore[no-untyped-call]
            await self.push(status)
        finally:
            self._is_answering = False
            if self._must_end:
                self._close()

    async def _answer(self, incoming: IncomingMessage, end_turn: Callable[[], None]) -> str:
        """The answer for the message that has come in. Ends its turn."""
        try:
            if incoming.refusal or self.envelope is None:
                return incoming.refusal or Answer.LATER.value
            self.envelope.content = self.envelope.original_content = incoming.complete()
            return str(await self._call_handler_hook("DATA"))
        except Exception as error:
            return await self.handler.handle_exception(error)
        finally:
            end_turn()
            incoming.release()

    async def smtp_VRFY(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        await self.push("502 5.5.1 VRFY is not available")
