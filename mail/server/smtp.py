"""The SMTP and LMTP doors: they take mail for aliases and answer for it only when the next hop has.

aiosmtpd speaks the protocol; what asks the database or the next hop runs in threads, so that a slow
one does not stop the others.
"""

import asyncio
import contextlib
import logging
import re
import ssl
import time
from collections.abc import Callable
from typing import Any, AnyStr

from aiosmtpd.smtp import SMTP, Envelope, Session, syntax
from django.conf import settings

from mail.delivery.forward import Answer, Message, recognised_by, take
from mail.delivery.next_hop import NextHop
from mail.delivery.record import forget
from mail.delivery.resolve import Kind, Resolution
from mail.delivery.verdict import AWAY, UNKNOWN, Verdict, after_queue, verdict
from mail.server.clients import Connections, Room, Turns, UnknownLimit, client_address, stranger
from mail.threads import Pool

logger = logging.getLogger(__name__)

TOO_MANY_UNKNOWN = "421 4.7.0 Too many unknown recipients, try again later"
TOO_MANY_CONNECTIONS = "421 4.3.2 Too many connections, try again later"
TOO_MANY_RECIPIENTS = "452 4.5.3 Too many recipients, please send the others again"
SEPARATE = "452 4.5.3 One recipient at a time, please send the others again"
TOO_LARGE = "552 5.3.4 Message too large"
# After it was queued, by a mail server that takes larger ones: that is the administrator's to put right.
TOO_LARGE_NOW = "452 4.3.5 Message larger than MAIL_SIZE_LIMIT"
NO_ROOM = "452 4.3.1 Too many messages at once, try again later"
TOO_SLOW = "421 4.4.2 Timeout, try again later"

RECIPIENTS_MAX = 100
# Recipients of one connection that are refused: unknown ones, and others' that we do not relay to.
REFUSED_MAX = 10
# Octets of DATA that are read and thrown away, so that the client hears "too large": so many times the limit.
DRAIN_FACTOR = 2
# Octets above the limit for the trace fields that a Postfix in front has added (RFC 5321 §4.4).
TRACE_MAX = 64 * 1024
# Seconds for the next command (RFC 5321 §4.5.3.2.7), and for our own answer to DATA.
COMMAND_TIMEOUT = 300.0
ANSWER_TIMEOUT = 900.0
# Seconds in which a client that is out of time may take our last word.
FAREWELL_TIME = 1.0
# Seconds that a message waits until an earlier one is forgotten, which a sender that does not read holds up.
FORGET_TIMEOUT = 3.0
# The everyday form of a Path (RFC 5321 §4.1.2): a Dot-string, a domain without comments or literals.
_PATH = re.compile(r"<([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+)>(?: +(.*))?")
# Any other, as a mail server in front writes it.
_ANY_PATH = re.compile(r"<(.*)>(?: +([^<>]*))?", re.DOTALL)
# Octets of a command at the LMTP door.
COMMAND_MAX = 8192
# How often one connection may give a command. A sender that keeps its connection sends many messages.
COMMANDS_MAX = {"*": 10_000, "RCPT": 100_000, "MAIL": 100_000, "DATA": 100_000, "RSET": 100_000}


def sender_of(envelope: Envelope) -> str:
    """The envelope's sender; "" for the null sender, which aiosmtpd hands over as written."""
    return "" if envelope.mail_from in {None, "<>"} else envelope.mail_from or ""


def client_of(session: Session) -> str:
    """The client's IP address; "local" on a UNIX socket."""
    return client_address(session.peer)


def stranger_of(session: Session) -> str:
    """The client as it is limited; "" for a mail server of ours in front."""
    return stranger(client_of(session))


class Handler:
    """What aiosmtpd asks: one for the whole SMTP door."""

    protocols = ("ESMTP", "ESMTPS")
    refused_max = REFUSED_MAX
    is_queued = False

    def __init__(self, lookups: Pool, work: Pool, next_hop: NextHop, unknown: UnknownLimit) -> None:
        self.lookups = lookups
        self.work = work
        self.next_hop = next_hop
        self.unknown = unknown
        self.room = Room()
        self.turns = Turns(settings.MAIL_THREADS)
        self._forgetting: dict[asyncio.Task[None], int | None] = {}

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """What we offer: aiosmtpd's list, and PIPELINING (RFC 2920), which it understands."""
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", responses[-1]]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Whether the recipient is welcome. A blocked alias and an unknown one are told in the same words."""
        if len(envelope.rcpt_tos) >= RECIPIENTS_MAX:
            return TOO_MANY_RECIPIENTS
        client = stranger_of(session)
        if self.unknown.is_over(client):
            return _hang_up(server)
        try:
            found: Verdict = await self.lookups.ask(self.judge, address, sender_of(envelope))
        except Exception as error:
            logger.warning("recipient not resolved: %s", type(error).__name__)
            return AWAY
        if found.refusal:
            if found.refusal == UNKNOWN:
                self.unknown.count(client)
            session.__dict__["refused"] = session.__dict__.get("refused", 0) + 1
            if session.__dict__["refused"] >= self.refused_max:
                return _hang_up(server)
        return found.refusal or self._welcome(envelope, address, found.resolution)

    def judge(self, recipient: str, sender: str, deadline: float | None = None) -> Verdict:
        """What a recipient is told; as mail.delivery.verdict.verdict."""
        return verdict(recipient, sender, deadline)

    def _welcome(self, envelope: Envelope, address: str, resolution: Resolution) -> str:
        # One answer follows DATA: recipients that could need different ones come one at a time.
        if envelope.__dict__.setdefault("resolution", resolution) != resolution:
            return SEPARATE
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Forward, and answer when the next hop has answered."""
        resolution: Resolution = envelope.__dict__["resolution"]
        message = self.message(session, envelope)
        await self.forgotten(resolution.alias_id)
        answer = await self.take(resolution, message)
        if answer in {Answer.DONE, Answer.REFUSED} and resolution.kind in {Kind.FORWARD, Kind.ROLE}:
            # Once the sender has heard it, the same octets may come again as another message.
            server.__dict__["acknowledged"] = (message, resolution)
        return answer.value

    def message(self, session: Session, envelope: Envelope) -> Message:
        """The message as it was handed over."""
        return Message(
            sender=sender_of(envelope),
            content=envelope.original_content or b"",
            client=f"{session.host_name or 'unknown'} ([{client_of(session)}])",
            protocol=self.protocols[bool(session.ssl)],
            utf8=bool(envelope.smtp_utf8),
            is_queued=self.is_queued,
        )

    async def take(self, resolution: Resolution, message: Message) -> Answer:
        """What became of the message for this recipient."""
        try:
            return await self.work.run(take, message, resolution, self.next_hop)
        except Exception as error:
            logger.warning("message not forwarded: %s", type(error).__name__)
            return Answer.LATER

    def answering(self, message: Message, resolution: Resolution) -> asyncio.Future[bool]:
        """A future for whether the sender has heard our answer; if so, the message is forgotten.

        In a task of its own: a sender that hangs up with the answer in its hands ends the connection's.
        """
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[bool] = loop.create_future()

        async def forget_if_heard() -> None:
            if await heard:
                await self.acknowledged(message, resolution)

        task = loop.create_task(forget_if_heard())
        self._forgetting[task] = resolution.alias_id
        task.add_done_callback(self._forgetting.pop)
        return heard

    async def forgotten(self, alias_id: int | None) -> None:
        """Wait for what is acknowledged for this alias: the sender may send the same octets again at once,
        and they would be taken for a second try."""
        if tasks := [task for task, other_id in self._forgetting.items() if other_id == alias_id]:
            await asyncio.wait(tasks, timeout=FORGET_TIMEOUT)

    async def acknowledged(self, message: Message, resolution: Resolution) -> None:
        """The sender has heard our answer."""
        try:
            await self.work.run(forget, *recognised_by(message, resolution))
        except Exception as error:
            logger.warning("delivery not forgotten: %s", type(error).__name__)

    async def handle_exception(self, error: Exception) -> str:
        """What nobody foresaw is temporary."""
        logger.error("mail door: %s", type(error).__name__)
        return Answer.LATER.value


class LmtpHandler(Handler):
    """The LMTP door's (RFC 2033): each recipient gets an answer of its own."""

    protocols = ("LMTP", "LMTPS")
    # Postfix has asked before, and keeps its connection: what it names is no guess.
    refused_max = 10**9
    is_queued = True

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Without SIZE (RFC 1870): Postfix would report a message that its own fields have made larger."""
        offered = await super().handle_EHLO(server, session, envelope, hostname, responses)
        return [line for line in offered if not line.startswith("250-SIZE")]

    def judge(self, recipient: str, sender: str, deadline: float | None = None) -> Verdict:
        """The same after it was queued."""
        return after_queue(super().judge(recipient, sender, deadline))

    async def take(self, resolution: Resolution, message: Message) -> Answer:
        """The same, but what is refused for good ends here, counted, instead of in a report to the sender."""
        answer = await super().take(resolution, message)
        if answer in {Answer.REFUSED, Answer.LOOP}:
            logger.warning("dropped after it was queued: %s, %s", resolution.kind.value, answer.name.lower())
            return Answer.DONE
        return answer

    def _welcome(self, envelope: Envelope, address: str, resolution: Resolution) -> str:
        envelope.__dict__.setdefault("resolutions", []).append(resolution)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """One line for each accepted recipient, in their order (RFC 2033 §4.2)."""
        resolutions: list[Resolution] = envelope.__dict__["resolutions"]
        message = self.message(session, envelope)
        # The same alias twice (with tags, say) is one delivery and two answers.
        different = list(dict.fromkeys(resolutions))
        answers = await asyncio.gather(*(self.take(resolution, message) for resolution in different))
        answer_of = dict(zip(different, answers, strict=True))
        return "\r\n".join(answer_of[resolution].value for resolution in resolutions)


def _without_dots(content: bytearray) -> bytes:
    """The message without its end and its dots for transparency (RFC 5321 §4.5.2)."""
    del content[-3:]
    return bytes(content.replace(b"\r\n.", b"\r\n")[2:])


def _hang_up(server: SMTP) -> str:
    if server.transport is not None:
        # After the answer is written.
        asyncio.get_running_loop().call_soon(server.transport.close)
    return TOO_MANY_UNKNOWN


class Door(SMTP):
    """aiosmtpd's server, with room for real mail, bounded memory, and without VRFY, EXPN, HELP and AUTH."""

    too_large = TOO_LARGE

    def __init__(self, handler: Handler, **options: Any) -> None:
        super().__init__(
            handler,
            enable_SMTPUTF8=True,
            ident="Anonmail",
            timeout=COMMAND_TIMEOUT,
            auth_exclude_mechanism=["LOGIN", "PLAIN"],
            command_call_limit=COMMANDS_MAX,
            **options,
        )
        self.handler = handler
        self.is_taking = False
        self.is_ending = False
        # They say no more; and nothing of what they said is unanswered.
        self.has_heard_all = False
        self.is_over = False
        # What came of the message that is being received, the reply that refuses it, and until when more of
        # it must come (of time.monotonic()).
        self._content = bytearray()
        self._refusal = ""
        self._deadline: float | None = None
        # Extended commands may have more than the 512 octets of RFC 5321 §4.5.3.1.4: SMTPUTF8, XFORWARD.
        for command in ("MAIL", "RCPT"):
            self.command_size_limits[command] = 1024

    async def push(self, status: AnyStr) -> None:
        """Write an answer; what is acknowledged with it need not be recognised any more."""
        if self.is_over:
            if self.transport is not None:
                self.transport.close()
            raise asyncio.CancelledError
        done = self.__dict__.pop("acknowledged", None)
        if done is None:
            await super().push(status)
            return
        heard = self.handler.answering(*done)
        try:
            await super().push(status)
            # Whoever has closed one half of the connection may have closed the other one too.
            is_there = self.transport is not None and not self.transport.is_closing()
            heard.set_result(is_there and not self.has_heard_all)
        finally:
            if not heard.done():
                heard.set_result(False)
        await self.handler.forgotten(done[1].alias_id)

    def eof_received(self) -> bool:
        """They have said all that they will, and may listen still: what they said is answered to its end.

        Not over TLS, where asyncio knows no half of a connection.
        """
        if self.session is None or self.session.ssl is not None:
            super().eof_received()
            return False
        self.has_heard_all = True
        # aiosmtpd's own ends the connection.
        asyncio.StreamReaderProtocol.eof_received(self)
        return True

    async def handle_exception(self, error: Exception) -> str:
        """What to answer to an error. Where nothing more can be read, pushing it ends the connection."""
        if isinstance(error, asyncio.IncompleteReadError):
            self.is_over = True
            return ""
        return await super().handle_exception(error)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """The address that begins the text, and what follows it.

        aiosmtpd's own reads all of RFC 5322's grammar, at an eighth of the time that a message costs.
        """
        if match := _PATH.fullmatch(arg):
            return match[1], match[2] or ""
        return super()._getaddr(arg)

    def _timeout_cb(self) -> None:
        """End the connection, unless the message has come on meanwhile; whether its client reads or not."""
        if self._deadline is not None and (left := self._deadline - time.monotonic()) > 0:
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
        """Hang up: at once, or after the answer for the message that is being taken."""
        self.is_ending = True
        if not self.is_taking and self.transport is not None:
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
        client = stranger_of(self.session) if self.session is not None else ""
        try:
            await self._read_message(client)
            self._reset_timeout(ANSWER_TIMEOUT)
            end_turn = await self.handler.turns.take(client)
        except BaseException:
            self._let_go()
            raise
        self.is_taking = True
        # In a task of its own: who hangs up meanwhile keeps room and turn until the message is done with.
        answering = self.loop.create_task(self._answer(end_turn))
        try:
            status = await asyncio.shield(answering)
            self._reset_timeout()
            self._set_post_data_state()  # type: ignore[no-untyped-call]
            await self.push(status)
        finally:
            self.is_taking = False
            if self.is_ending:
                self.end_soon()

    async def _answer(self, end_turn: Callable[[], None]) -> str:
        """What became of the message that has come in. Ends its turn."""
        try:
            if self._refusal or self.envelope is None:
                return self._refusal or Answer.LATER.value
            self.handler.room.keep(self)
            content, self._content = self._content, bytearray()
            self.envelope.content = self.envelope.original_content = _without_dots(content)
            del content
            return str(await self._call_handler_hook("DATA"))
        except Exception as error:
            return await self.handler.handle_exception(error)
        finally:
            end_turn()
            self._let_go()

    def _let_go(self) -> None:
        """Nothing of a message is in memory any more."""
        self._deadline = None
        self.handler.room.release(self)
        self._content = bytearray()

    def give_way(self) -> None:
        """Others need the room: what has come is thrown away, and what still comes too."""
        self._refusal = NO_ROOM
        self._content.clear()

    def _came(self, octets: int) -> None:
        """So many octets more: the deadline moves on as if they had come at the least rate."""
        later = time.monotonic() + settings.MAIL_PATIENCE
        before = later if self._deadline is None else self._deadline
        self._deadline = min(later, before + octets / settings.MAIL_LEAST_RATE)

    async def _read_message(self, client: str) -> None:
        """Read the message to its end, whatever becomes of it."""
        limit = int(self.data_size_limit or 0) + TRACE_MAX
        end = b"\r\n.\r\n"
        # The line that DATA itself ended with is the one before.
        self._reader._buffer[:0] = b"\r\n"  # type: ignore[attr-defined]
        # One array, and large pieces: a million small ones would take many times their octets and their time.
        self._content, self._refusal = bytearray(), ""
        size, is_whole = 0, False
        self._came(0)
        self._reset_timeout(settings.MAIL_PATIENCE)
        while not is_whole:
            try:
                piece = await self._reader.readuntil(end)
                is_whole = True
            except asyncio.LimitOverrunError as error:
                piece = await self._reader.read(error.consumed)
            # Without the dots that were added for transparency alone.
            size += len(piece) - piece.count(b"\r\n.")
            self._came(len(piece))
            if size > limit + len(end):
                self.give_way()
                self.handler.room.release(self)
                self._refusal = self.too_large
            elif not self._refusal:
                self.handler.room.hold(self, client, len(piece))
            if not self._refusal:
                self._content += piece
            elif size > limit * DRAIN_FACTOR:
                await self.push(self.too_large)
                if self.transport is not None:
                    self.transport.close()
                raise asyncio.CancelledError
        self._deadline = None

    async def smtp_VRFY(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        await self.push("502 5.5.1 VRFY is not available")


class LmtpDoor(Door):
    """The same for LMTP, which greets with LHLO alone (RFC 2033 §4.1)."""

    show_smtp_greeting = False
    too_large = TOO_LARGE_NOW
    # Postfix itself reads lines of 2,048 octets (line_length_limit), and writes them quoted.
    line_length_limit = COMMAND_MAX

    def __init__(self, handler: Handler, **options: Any) -> None:
        super().__init__(handler, **options)
        for command in ("MAIL", "RCPT"):
            self.command_size_limits[command] = COMMAND_MAX

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """The same, however the address is written: Postfix has taken the message already."""
        if not _PATH.fullmatch(arg) and (match := _ANY_PATH.fullmatch(arg)):
            # aiosmtpd's own writes the null sender so.
            return match[1] or "<>", match[2] or ""
        return super()._getaddr(arg)

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        await super().smtp_EHLO(arg)

    async def smtp_HELO(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        await self.push("500 5.5.1 This is LMTP: say LHLO")

    async def smtp_EHLO(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        await self.push("500 5.5.1 This is LMTP: say LHLO")


def mail_protocol(
    kind: type[Door],
    handler: Handler,
    connections: Connections,
    *,
    hostname: str,
    size_limit: int,
    tls: ssl.SSLContext | None = None,
) -> Door:
    """The protocol for one new connection."""
    door = kind(
        handler,
        data_size_limit=size_limit,
        hostname=hostname,
        tls_context=tls,
        loop=asyncio.get_running_loop(),
    )
    made, lost = door.connection_made, door.connection_lost

    def connection_made(transport: asyncio.BaseTransport) -> None:
        # STARTTLS makes the connection a second time, over another transport: it is still one.
        if connections.admit(door, transport):
            made(transport)
        elif isinstance(transport, asyncio.Transport):
            transport.write(TOO_MANY_CONNECTIONS.encode() + b"\r\n")
            transport.close()

    def connection_lost(error: Exception | None) -> None:
        connections.gone(door)
        if door.session is not None:
            with contextlib.suppress(AssertionError):
                lost(error)

    door.connection_made = connection_made  # type: ignore[method-assign]
    door.connection_lost = connection_lost  # type: ignore[method-assign]
    return door
