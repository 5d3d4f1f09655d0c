"""The mail server: its doors in one process, and any number of such processes behind the same sockets."""

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType

from django.conf import settings
from django.db import connections

from mail.delivery.blocks import blocks
from mail.delivery.next_hop import NextHop, next_hop_from
from mail.delivery.record import has_unwritten, write_unwritten
from mail.delivery.resolve import our_domains
from mail.server.clients import Connections, UnknownLimit
from mail.server.line_protocol import LineDoor
from mail.server.listening import BACKLOG
from mail.server.policy import PolicyDoor
from mail.server.smtp import Door, Handler, LmtpDoor, LmtpHandler, mail_protocol
from mail.server.socketmap import SocketmapDoor
from mail.threads import WRITE_TIMEOUT, Pool

logger = logging.getLogger(__name__)

# Threads that ask the database. More would wait for each other: they share one interpreter.
LOOKUP_THREADS = 4
# Seconds that messages underway get to end in, when the server stops.
STOP_TIME = 20.0
# Connections that a process accepts in one go: with more, the first one to wake would take them all.
ACCEPT_AT_ONCE = 1
# Seconds between two looks at whether the processes live.
WATCH = 0.2


class Doors:
    """The doors of one process, over sockets that listen already."""

    def __init__(
        self, listeners: Mapping[str, socket.socket], next_hop: NextHop, tls: ssl.SSLContext | None = None
    ) -> None:
        self.listeners = listeners
        self.next_hop = next_hop
        self.tls = tls
        self.lookups = Pool(LOOKUP_THREADS)
        self.work = Pool(settings.MAIL_THREADS)
        # Each process counts by itself: together they let no more through than is set.
        self.unknown = UnknownLimit(
            *(
                -(-most // settings.MAIL_PROCESSES)
                for most in (settings.MAIL_UNKNOWN_PER_CLIENT, settings.MAIL_UNKNOWN_PER_DAY)
            )
        )
        self.servers: list[asyncio.Server] = []
        self.counts: dict[str, Connections] = {}

    async def open(self) -> None:
        """Serve at every listening socket."""
        loop = asyncio.get_running_loop()
        for name, listener in self.listeners.items():
            count = self.counts[name] = Connections(
                settings.MAIL_CONNECTIONS, settings.MAIL_CONNECTIONS_PER_CLIENT
            )
            make: Callable[[], Door | LineDoor]
            if name == "policy":
                make = partial(PolicyDoor, self.lookups, count, self.unknown)
            elif name == "socketmap":
                make = partial(SocketmapDoor, self.lookups, count)
            else:
                make = self._mail_door(name, count)
            server = await loop.create_server(make, sock=listener, backlog=ACCEPT_AT_ONCE)
            # asyncio takes one number for both.
            listener.listen(BACKLOG)
            self.servers.append(server)

    def _mail_door(self, name: str, count: Connections) -> Callable[[], Door]:
        is_lmtp = name == "lmtp"
        unknown = UnknownLimit(0) if is_lmtp else self.unknown
        handler = (LmtpHandler if is_lmtp else Handler)(self.lookups, self.work, self.next_hop, unknown)
        return lambda: mail_protocol(
            LmtpDoor if is_lmtp else Door,
            handler,
            count,
            hostname=settings.MAIL_HOSTNAME,
            size_limit=settings.MAIL_SIZE_LIMIT,
            tls=None if is_lmtp else self.tls,
        )

    async def write_what_is_known(self) -> None:
        """Write what became of messages while the database could not be written."""
        if not has_unwritten():
            return
        try:
            await self.lookups.ask(write_unwritten)
        except Exception as error:
            logger.warning("outcomes not written yet: %s", type(error).__name__)

    async def close(self) -> None:
        """Take no more connections, let messages underway end, and end the rest."""
        for server in self.servers:
            server.close()
        for count in self.counts.values():
            for connection in list(count.open):
                connection.end_soon()
        deadline = time.monotonic() + STOP_TIME
        while any(count.open for count in self.counts.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await self.write_what_is_known()
        self.lookups.close()
        self.work.close()
        await asyncio.to_thread(blocks.write_last)


def tls_context() -> ssl.SSLContext | None:
    """The context of MAIL_TLS_CERTIFICATE; None without one. Raises OSError."""
    if not settings.MAIL_TLS_CERTIFICATE:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.MAIL_TLS_CERTIFICATE, settings.MAIL_TLS_KEY or None)
    return context


def use_a_connection_per_thread() -> None:
    """Let each thread of this process keep its own database connection, instead of Django's pool.

    The pool waits longer and longer between two tries while the database is away; a thread tries
    when it is asked.
    """
    configuration = connections.settings["default"]
    if configuration.get("OPTIONS", {}).pop("pool", None) is not None:
        configuration["CONN_MAX_AGE"] = None
    connections.close_all()


def wait_briefly_for_writers() -> None:
    """Let no write of this process wait for another of SQLite's writers for longer than WRITE_TIMEOUT: who
    hands a message over is told to come again. (PostgreSQL is told with each transaction.)"""
    configuration = connections.settings["default"]
    if configuration["ENGINE"] == "django.db.backends.sqlite3":
        configuration["OPTIONS"]["timeout"] = WRITE_TIMEOUT


def serve(listeners: Mapping[str, socket.socket], parent: int | None = None) -> None:
    """Serve in this process until SIGTERM or SIGINT, or until the parent process is gone.

    `parent`: its id as it was before this process began; it may be gone by now.
    """
    if parent is None:
        parent = os.getppid()
    use_a_connection_per_thread()
    wait_briefly_for_writers()
    our_domains.keep(settings.VAR_DIR / "our_domains.json")
    hop = next_hop_from(settings.MAIL_NEXT_HOP, settings.MAIL_HOSTNAME, settings.MAIL_NEXT_HOP_CA)
    tls = tls_context()

    async def until_stopped() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        doors = Doors(listeners, hop, tls)
        await doors.open()
        while not stop.is_set() and os.getppid() == parent:
            await doors.write_what_is_known()
            try:
                await asyncio.wait_for(stop.wait(), 1)
            except TimeoutError:
                continue
        await doors.close()

    asyncio.run(until_stopped())
    sys.stdout.flush()
    # A thread that hangs on a database or a next hop does not keep the process.
    os._exit(0)


class Processes:
    """Several processes behind the same sockets; one that dies is replaced."""

    def __init__(self, listeners: Mapping[str, socket.socket], number: int) -> None:
        self.listeners, self.number = listeners, number
        self.running: set[int] = set()
        self.stopping = False

    def run(self) -> None:
        """Run them until SIGTERM or SIGINT."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        while not self.stopping:
            while len(self.running) < self.number:
                self._start()
            self._reap()
            time.sleep(WATCH)
        for process in self.running:
            os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIME + 2
        while self.running and time.monotonic() < deadline:
            self._reap()
            time.sleep(WATCH / 4)
        for process in self.running:
            os.kill(process, signal.SIGKILL)

    def _start(self) -> None:
        parent, process = os.getpid(), os.fork()
        if process:
            self.running.add(process)
            return
        for number in (signal.SIGINT, signal.SIGTERM):
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
                self.running.discard(process)
                if not self.stopping:
                    logger.warning("a mail process ended by itself; another one takes its place")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
