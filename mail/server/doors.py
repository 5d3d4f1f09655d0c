"""The doors of one process of the mail server, over sockets that listen already."""

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings

from core import tallies
from core.heartbeats import EVERY
from core.listening import BACKLOG
from core.sparing_logs import warn_sparingly
from mail.delivery.blocks import blocks
from mail.delivery.entries import Alive
from mail.delivery.forward import Forwarder
from mail.delivery.gatherer import Gatherer
from mail.delivery.lookups import Lookups
from mail.delivery.next_hop import NextHop
from mail.delivery.record import Ledger
from mail.delivery.resolve import our_domains
from mail.server.domain_table import DomainTable
from mail.server.limits import Connections, UnknownRecipientLimit
from mail.server.listening import stop_accepting
from mail.server.lmtp import LmtpDoor, LmtpHandler
from mail.server.milter import MilterDoor
from mail.server.policy import PolicyDoor
from mail.server.question_door import QuestionDoor
from mail.server.sign_in import SignIns
from mail.server.smtp import SmtpDoor
from mail.server.smtp_handler import SmtpHandler
from mail.server.socketmap import SocketmapDoor
from mail.server.submission import SubmissionDoor, SubmissionHandler
from mail.server.tls import TlsFirst

logger = logging.getLogger(__name__)

# Seconds in which messages underway may end when the server stops.
STOP_TIME = 20.0
# Connections that a process accepts at once: with more, the first process to wake would take them all.
ACCEPT_AT_ONCE = 1


class Doors:
    """The doors of one process, over sockets that listen already.

    `is_apart`: no other process has these doors, which only answer questions, and others take the messages.
    """

    def __init__(
        self,
        listeners: Mapping[str, socket.socket],
        next_hop: NextHop,
        tls: ssl.SSLContext | None = None,
        *,
        is_apart: bool = False,
    ) -> None:
        self.listeners = listeners
        self.is_apart = is_apart
        self.tls = tls
        self.lookups = Lookups()
        self.ledger = Ledger()
        self.forwarder = Forwarder(next_hop, self.lookups, self.ledger)
        # Each process counts for itself: each has its share of the limits.
        sharers = 1 if is_apart else settings.MAIL_PROCESSES
        # One that is apart takes the connections that all the others would.
        self.connections_max = settings.MAIL_CONNECTIONS * settings.MAIL_PROCESSES // sharers
        limits = (settings.MAIL_UNKNOWN_PER_CLIENT, settings.MAIL_UNKNOWN_PER_DAY)
        self.unknown_limit = UnknownRecipientLimit(*(-(-each // sharers) for each in limits))
        directory = settings.MAIL_POSTFIX_DIRECTORY
        self.domain_table = DomainTable(Path(directory)) if directory else None
        self.servers: list[asyncio.Server] = []
        self.connections: list[Connections] = []
        # Only where there is a door at which people sign in.
        self.sign_ins: SignIns | None = None
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._shows_life_at = 0.0

    async def open(self) -> None:
        """Serve at every listening socket."""
        loop = asyncio.get_running_loop()
        for name, listener in self.listeners.items():
            connections = Connections(self.connections_max, settings.MAIL_CONNECTIONS_PER_CLIENT)
            self.connections.append(connections)
            door = self._door(name, connections)
            self.servers.append(await loop.create_server(door, sock=listener, backlog=ACCEPT_AT_ONCE))
            # asyncio uses its backlog for both.
            listener.listen(BACKLOG)

    def _door(self, name: str, connections: Connections) -> Callable[[], SmtpDoor | TlsFirst | QuestionDoor]:
        """What makes the protocol of each new connection."""
        match name:
            case "policy":
                return partial(PolicyDoor, self.lookups, connections, self.unknown_limit)
            case "socketmap":
                return partial(SocketmapDoor, self.lookups, connections)
            case "milter":
                return partial(MilterDoor, self.forwarder, connections, self.unknown_limit)
            case "lmtp":
                return partial(LmtpDoor, LmtpHandler(self.forwarder, UnknownRecipientLimit(0)), connections)
            case "submission" | "submission_tls":
                return self._submission_door(connections, is_tls_first=name == "submission_tls")
        return partial(SmtpDoor, SmtpHandler(self.forwarder, self.unknown_limit), connections, self.tls)

    def _submission_door(
        self, connections: Connections, *, is_tls_first: bool
    ) -> Callable[[], SubmissionDoor | TlsFirst]:
        self.sign_ins = self.sign_ins or SignIns()
        handler = SubmissionHandler(self.forwarder, self.unknown_limit, self.sign_ins)
        if is_tls_first and self.tls is not None:
            door, tls = partial(SubmissionDoor, handler, connections), self.tls
            return lambda: TlsFirst(door(), connections, tls)
        return partial(SubmissionDoor, handler, connections, self.tls)

    async def do_duties(self) -> None:
        """What is to be done each second."""
        if self.is_apart:
            # Those that take messages do it.
            return
        await self.write_outcomes()
        await self.show_life()
        await self.keep_domain_table()

    async def write_outcomes(self) -> None:
        """Write the outcomes that became known while the database could not be written."""
        try:
            await self.ledger.write_unwritten()
        except Exception as error:
            warn_sparingly(logger, "outcomes not written yet: %s", type(error).__name__)

    async def show_life(self) -> None:
        """Say in the database now and then that this process serves."""
        now = time.monotonic()
        if now >= self._shows_life_at:
            self._shows_life_at = now + EVERY.total_seconds()
            await self._write_life(Alive(self.name))

    async def _write_life(self, life: Alive) -> None:
        try:
            await self.ledger.write(life)
        except Exception as error:
            warn_sparingly(logger, "sign of life not written: %s", type(error).__name__)

    async def keep_domain_table(self) -> None:
        """Write our domains for Postfix if they have changed."""
        known = our_domains.known()
        if self.domain_table and known is not None and not self.domain_table.is_current(known):
            await asyncio.to_thread(self.domain_table.update, known)

    async def close(self) -> None:
        """Take no more connections, let messages underway end, and end the rest."""
        await stop_accepting(self.servers)
        for each in self.connections:
            for connection in list(each.open):
                connection.end_soon()
        deadline = time.monotonic() + STOP_TIME
        while self._is_busy() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await self.write_outcomes()
        if not self.is_apart:
            await self._write_life(Alive(self.name, is_stopping=True))
        for gatherer in self.gatherers:
            gatherer.close()
        await self.forwarder.next_hop.close()
        await asyncio.to_thread(blocks.write_last)
        await asyncio.to_thread(tallies.write_last)

    @property
    def gatherers(self) -> list[Gatherer[Any, Any]]:
        """What has a thread, which ends once all that was asked is answered."""
        return [each for each in (self.lookups, self.ledger, self.sign_ins) if each is not None]

    def _is_busy(self) -> bool:
        return self.forwarder.is_busy or any(each.open for each in self.connections)
