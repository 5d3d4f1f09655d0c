"""The mail server: its doors in one process, and any number of such processes behind the same sockets."""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.db import connections

from core import tallies
from core.heartbeats import EVERY
from core.listening import BACKLOG
from core.public_suffixes import suffixes
from core.sparing_logs import warn_sparingly
from core.supervised import report_serving
from mail.delivery.blocks import blocks
from mail.delivery.database import WRITE_TIMEOUT
from mail.delivery.entries import Alive
from mail.delivery.forward import Forwarder
from mail.delivery.gatherer import Gatherer
from mail.delivery.lookups import Lookups
from mail.delivery.next_hop import NextHop, configured_next_hop
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
from mail.server.tls import TlsFirst, configured_certificate

logger = logging.getLogger(__name__)

# Seconds in which messages underway may end when the server stops.
STOP_TIME = 20.0
# Connections that a process accepts at once: with more, the first process to wake would take them all.
ACCEPT_AT_ONCE = 1
# glibc's numbers for them (malloc.h); and the octets of a block that it returns at once.
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
LARGE_BLOCK = 256 * 1024
# Seconds between two checks of whether the processes live.
WATCH_INTERVAL = 0.2
# Seconds before a process that ended is replaced, at most: doubled each time, until they live for a while.
PAUSE_MAX = 10.0
LONG_LIFE = 60.0


class Doors:
    """The doors of one process, over sockets that listen already."""

    def __init__(
        self, listeners: Mapping[str, socket.socket], next_hop: NextHop, tls: ssl.SSLContext | None = None
    ) -> None:
        self.listeners = listeners
        self.tls = tls
        self.lookups = Lookups()
        self.ledger = Ledger()
        self.forwarder = Forwarder(next_hop, self.lookups, self.ledger)
        # Each process counts for itself: each has its share of the limits.
        limits = (settings.MAIL_UNKNOWN_PER_CLIENT, settings.MAIL_UNKNOWN_PER_DAY)
        self.unknown_limit = UnknownRecipientLimit(*(-(-each // settings.MAIL_PROCESSES) for each in limits))
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
            connections = Connections(settings.MAIL_CONNECTIONS, settings.MAIL_CONNECTIONS_PER_CLIENT)
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


def configure_database() -> None:
    """Let each thread of this process keep its own connection, and wait for other writers for a short time.

    Django's pool waits longer and longer between two tries while the database is away; a thread tries when
    it is asked. PostgreSQL gets its time limit with each transaction (`limit_lock_wait`).
    """
    configuration = connections.settings["default"]
    if configuration.get("OPTIONS", {}).pop("pool", None) is not None:
        configuration["CONN_MAX_AGE"] = None
    if configuration["ENGINE"] == "django.db.backends.sqlite3":
        configuration["OPTIONS"]["timeout"] = WRITE_TIMEOUT
    connections.close_all()


def keep_for_good() -> None:
    """Let the garbage collector pass over all that has been loaded: looking through it would hold up every
    answer, for a tenth of a second."""
    gc.collect()
    gc.freeze()


def keep_memory_small() -> None:
    """Let the memory of each large message go back to the system: once it has seen one, glibc would keep it
    in a heap with holes (mallopt(3)). And let all threads share one heap: Python's lock lets only one of them
    use it at a time anyway. To be called before there are any."""
    with suppress(AttributeError, OSError):  # not glibc
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        library.mallopt(M_ARENA_MAX, 1)


def signals_to_stop() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT, and SIGHUP, which a closed terminal sends; not if the command was run by nohup."""
    survives = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT) if survives else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve(listeners: Mapping[str, socket.socket], parent: int | None = None) -> None:
    """Serve in this process until a signal to stop, or, if it was forked, until the parent (its process id
    from before; it may have ended by now) is gone."""
    keep_memory_small()
    configure_database()
    our_domains.keep(settings.VAR_DIR / "our_domains.json")
    # Reading the list would hold up the first message that needs it, and all others.
    suffixes()
    hop = configured_next_hop()
    certificate = configured_certificate()

    async def until_stopped() -> None:
        stop = asyncio.Event()
        for number in signals_to_stop():
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        doors = Doors(listeners, hop, certificate.context if certificate else None)
        await doors.open()
        keep_for_good()
        report_serving()
        while not stop.is_set() and parent in (None, os.getppid()):
            await doors.write_outcomes()
            await doors.show_life()
            await doors.keep_domain_table()
            if certificate:
                certificate.follow_files()
            try:
                await asyncio.wait_for(stop.wait(), 1)
            except TimeoutError:
                continue
        await doors.close()

    asyncio.run(until_stopped())
    sys.stdout.flush()
    # A thread that hangs on a database or a next hop must not keep the process alive.
    os._exit(0)


class Processes:
    """Several processes behind the same sockets; one that dies is replaced, the sooner the longer they have
    lived."""

    def __init__(self, listeners: Mapping[str, socket.socket], number: int) -> None:
        self.listeners, self.number = listeners, number
        # When each of them was started, by its process id.
        self.running: dict[int, float] = {}
        self.stopping = False
        self.pause = WATCH_INTERVAL
        self.due = 0.0

    def run(self) -> None:
        """Run them until a signal to stop."""
        for number in signals_to_stop():
            signal.signal(number, self._stop)
        while not self.stopping:
            while len(self.running) < self.number and time.monotonic() >= self.due:
                self._start()
            self._reap()
            time.sleep(WATCH_INTERVAL)
        for process in self.running:
            os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIME + 2
        while self.running and time.monotonic() < deadline:
            self._reap()
            time.sleep(WATCH_INTERVAL / 4)
        for process in self.running:
            os.kill(process, signal.SIGKILL)

    def _start(self) -> None:
        parent = os.getpid()
        try:
            process = os.fork()
        except OSError as error:
            warn_sparingly(logger, "a mail process cannot be started: %s", error.strerror)
            self._wait_longer()
            return
        if process:
            self.running[process] = time.monotonic()
            return
        for number in signals_to_stop():
            signal.signal(number, signal.SIG_DFL)
        try:
            serve(self.listeners, parent)
        except BaseException as error:
            logger.error("mail process ended: %s", type(error).__name__)
        os._exit(1)

    def _reap(self) -> None:
        for process in list(self.running):
            ended, _status = os.waitpid(process, os.WNOHANG)
            if ended:
                lived = time.monotonic() - self.running.pop(process)
                if not self.stopping:
                    logger.warning("a mail process ended by itself; another takes its place")
                    if lived > LONG_LIFE:
                        self.pause = WATCH_INTERVAL
                    self._wait_longer()

    def _wait_longer(self) -> None:
        self.due = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, PAUSE_MAX)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
