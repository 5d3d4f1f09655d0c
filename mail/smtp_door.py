"""The SMTP door: takes mail for aliases and answers for it only when the next hop has.

aiosmtpd speaks the protocol; everything that asks the database or the next hop runs in a pool of
threads, so that a slow one does not stop the others.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from aiosmtpd.smtp import SMTP, Envelope, Session
from django.db import close_old_connections, connections

from mail.bounce import receive_bounce
from mail.forward import Answer, Message, forget, forward
from mail.models import count_block
from mail.next_hop import Accepted, NextHop
from mail.resolve import Kind, Resolution, resolve

logger = logging.getLogger(__name__)

UNKNOWN = "550 5.1.1 No such mailbox here"
NOT_OURS = "550 5.7.1 We do not relay"
AWAY = "451 4.3.0 Cannot look this up now, try again later"
TOO_MANY_UNKNOWN = "421 4.7.0 Too many unknown recipients"
SEPARATE = "452 4.5.3 One recipient at a time, please send the others again"
RETURN_PATH = "550 5.7.1 This address takes bounces alone"

# Octets of a line: mail in the wild has lines of megabytes (RFC 5321 allows 1,000).
LINE_MAX = 8 * 1024 * 1024
RECIPIENTS_MAX = 100
UNKNOWN_MAX = 10
Result = TypeVar("Result")


def sender_of(envelope: Envelope) -> str:
    """The envelope's sender; "" for the null sender, which aiosmtpd hands over as written."""
    return "" if envelope.mail_from in {None, "<>"} else envelope.mail_from or ""


class Pool:
    """Runs blocking work in threads, with the database connections that Django keeps per thread."""

    def __init__(self, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="mail")

    async def run(self, work: Callable[..., Result], *args: Any) -> Result:
        """The work's result, or what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, self._in_thread, work, args)

    @staticmethod
    def _in_thread(work: Callable[..., Result], args: tuple[Any, ...]) -> Result:
        close_old_connections()
        try:
            return work(*args)
        finally:
            # A pooled connection goes back; without a pool it is kept for the next message.
            if getattr(connections["default"], "pool", None):
                connections["default"].close()
            else:
                close_old_connections()


class Handler:
    """What aiosmtpd asks: one for the whole door."""

    def __init__(self, pool: Pool, next_hop: NextHop, postmaster: str) -> None:
        self.pool = pool
        self.next_hop = next_hop
        self.postmaster = postmaster

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Whether the recipient exists. A blocked alias and an unknown one are told in the same words."""
        if len(envelope.rcpt_tos) >= RECIPIENTS_MAX:
            return "452 4.5.3 Too many recipients"
        sender = sender_of(envelope)
        try:
            resolution = await self.pool.run(resolve, address)
            refusal = await self._refusal(resolution, sender)
        except Exception as error:
            logger.warning("recipient not resolved: %s", type(error).__name__)
            return AWAY
        if refusal:
            if refusal == UNKNOWN:
                session.__dict__["unknown"] = session.__dict__.get("unknown", 0) + 1
                if session.__dict__["unknown"] >= UNKNOWN_MAX:
                    if server.transport is not None:
                        # After the answer is written.
                        asyncio.get_running_loop().call_soon(server.transport.close)
                    return TOO_MANY_UNKNOWN
            return refusal
        # One answer follows DATA: recipients that could need different ones come one at a time.
        if envelope.__dict__.setdefault("resolution", resolution) != resolution:
            return SEPARATE
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def _refusal(self, resolution: Resolution, sender: str) -> str | None:
        match resolution.kind:
            case Kind.FORWARD:
                return None
            case Kind.ROLE:
                return None if self.postmaster else UNKNOWN
            case Kind.RETURN_PATH:
                return RETURN_PATH if sender else None
            case Kind.BLOCKED if resolution.alias_id is not None:
                await self.pool.run(count_block, resolution.alias_id, sender)
                return UNKNOWN
            case Kind.NOT_OURS:
                return NOT_OURS
        return UNKNOWN

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Forward, and answer when the next hop has answered."""
        resolution: Resolution = envelope.__dict__["resolution"]
        host = session.peer[0] if isinstance(session.peer, tuple) else "local"
        content = envelope.original_content or b""
        message = Message(
            sender=sender_of(envelope),
            content=content,
            client=f"{session.host_name or 'unknown'} ([{host}])",
            protocol="ESMTPS" if session.ssl else "ESMTP",
            utf8=bool(envelope.smtp_utf8),
        )
        try:
            return (await self.pool.run(self._take, resolution, message)).value
        except Exception as error:
            logger.warning("message not forwarded: %s", type(error).__name__)
            return Answer.LATER.value

    def _take(self, resolution: Resolution, message: Message) -> Answer:
        if resolution.kind is Kind.RETURN_PATH and resolution.address is not None:
            receive_bounce(resolution.address, message.content)
            return Answer.DONE
        if resolution.kind is Kind.ROLE:
            outcome = self.next_hop.send(message.sender, self.postmaster, message.content, utf8=message.utf8)
            return Answer.DONE if isinstance(outcome, Accepted) else Answer.LATER
        if resolution.alias_id is None:
            return Answer.REFUSED
        answer = forward(message, resolution.alias_id, self.next_hop)
        if answer in {Answer.DONE, Answer.REFUSED}:
            # The sender knows now. The same octets may come again as another message.
            forget(message, resolution.alias_id)
        return answer


class Door(SMTP):
    """aiosmtpd's server with room for real mail, and without VRFY and AUTH."""

    line_length_limit = LINE_MAX

    async def smtp_VRFY(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        await self.push("502 5.5.1 VRFY is not available")


class SmtpDoor:
    """Listens, serves at most `connections` clients at once, and stops."""

    def __init__(
        self,
        handler: Handler,
        *,
        hostname: str,
        size_limit: int,
        tls: ssl.SSLContext | None = None,
        connections: int = 200,
    ) -> None:
        self.handler, self.hostname, self.size_limit, self.tls = handler, hostname, size_limit, tls
        self.connections = connections
        self._open: set[Door] = set()
        self.server: asyncio.Server | None = None

    def _protocol(self) -> Door:
        door = Door(
            self.handler,
            data_size_limit=self.size_limit,
            enable_SMTPUTF8=True,
            hostname=self.hostname,
            ident="Anonmail",
            tls_context=self.tls,
            timeout=300,
            auth_exclude_mechanism=["LOGIN", "PLAIN"],
            command_call_limit={"*": 100, "RCPT": 1000},
            loop=asyncio.get_running_loop(),
        )
        made, lost = door.connection_made, door.connection_lost

        def connection_made(transport: asyncio.BaseTransport) -> None:
            # STARTTLS makes the connection a second time, over another transport: it is still one.
            if door not in self._open:
                if len(self._open) >= self.connections and isinstance(transport, asyncio.Transport):
                    transport.write(b"421 4.3.2 Too many connections, try again later\r\n")
                    transport.close()
                    return
                self._open.add(door)
            made(transport)

        def connection_lost(error: Exception | None) -> None:
            self._open.discard(door)
            if door.session is not None:
                lost(error)

        door.connection_made = connection_made  # type: ignore[method-assign]
        door.connection_lost = connection_lost  # type: ignore[method-assign]
        return door

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (for port 0 the one that was free)."""
        self.server = await asyncio.get_running_loop().create_server(self._protocol, host, port)
        return int(self.server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and end what is open."""
        if self.server is not None:
            self.server.close()
            for door in list(self._open):
                if door.transport is not None:
                    door.transport.close()
            await self.server.wait_closed()
