"""The mail server's processes, behind the same sockets: what each of them does, and that it is replaced if it
dies."""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import time
from asyncio import selector_events
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from django.conf import settings
from django.db import connections

from core.public_suffixes import suffixes
from core.sparing_logs import warn_sparingly
from core.supervised import report_serving
from mail.delivery.database import WRITE_TIMEOUT
from mail.delivery.next_hop import configured_next_hop
from mail.delivery.resolve import our_domains
from mail.server.doors import STOP_TIME, Doors
from mail.server.tls import configured_certificate

logger = logging.getLogger(__name__)

# Where Postfix asks about a recipient, and waits for the answer.
QUESTIONS = frozenset({"policy", "socketmap"})
# glibc's numbers for them (malloc.h); and the octets of a block that it returns at once.
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
LARGE_BLOCK = 256 * 1024
# Octets that the event loop reads from a connection at once.
READ_AT_ONCE = 64 * 1024
# Seconds between two checks of whether the processes live.
WATCH_INTERVAL = 0.2
# Seconds before a process that ended is replaced, at most: doubled each time, until it lives for a while.
PAUSE_MAX = 10.0
LONG_LIFE = 60.0

# Listening sockets by the names of their doors.
Listeners = Mapping[str, socket.socket]


def shares_of(listeners: Listeners) -> list[Listeners]:
    """At what each process of the mail server listens.

    MAIL_PROCESSES of them share all; with MAIL_QUESTIONS_APART, another one answers Postfix's questions, so
    that none of those waits for a message.
    """
    questions = {name: listener for name, listener in listeners.items() if name in QUESTIONS}
    others = {name: listener for name, listener in listeners.items() if name not in QUESTIONS}
    if settings.MAIL_QUESTIONS_APART and questions and others:
        return [*[others] * settings.MAIL_PROCESSES, questions]
    return [listeners] * settings.MAIL_PROCESSES


def configure_database() -> None:
    """Let each thread of this process keep its own connection, and wait for other writers for a short time.

    Django's pool waits longer and longer between two tries while the database is away; a thread tries when
    it is asked. PostgreSQL gets its time limit with each transaction (`limit_lock_wait`).
    """
    configuration = connections.settings["default"]
    if configuration.get("OPTIONS", {}).pop("pool", None) is not None:
        configuration["CONN_MAX_AGE"] = None
    if configuration["ENGINE"] == "core.db.sqlite":
        configuration["OPTIONS"]["timeout"] = WRITE_TIMEOUT
    connections.close_all()


def keep_for_good() -> None:
    """Let the garbage collector pass over all that has been loaded: looking through it would hold up every
    answer, for a tenth of a second, and make processes that were forked since copy all of it. And give back
    what loading has left over (malloc_trim(3))."""
    gc.collect()
    gc.freeze()
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def keep_memory_small() -> None:
    """Let the memory of each large message go back to the system: once it has seen one, glibc would keep it
    in a heap with holes (mallopt(3)). And let all threads share one heap: Python's lock lets only one of them
    use it at a time anyway. To be called before there are any."""
    with suppress(AttributeError, OSError):  # not glibc
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        library.mallopt(M_ARENA_MAX, 1)


def read_little_at_once() -> None:
    """Let the event loop read READ_AT_ONCE octets of a connection at most.

    Its own 256 KiB are made room for each time, whatever has come: glibc gets pages for them from the system,
    and gives them back, which takes ten times as long as reading a command.
    """
    transports: Any = selector_events
    transports._SelectorTransport.max_size = READ_AT_ONCE


def signals_to_stop() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT, and SIGHUP, which a closed terminal sends; not if the command was run by nohup."""
    survives = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT) if survives else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def prepare() -> None:
    """Load what each process needs; forked ones then have it in common."""
    keep_memory_small()
    read_little_at_once()
    # Reading the list would hold up the first message that needs it, and all others.
    suffixes()


def serve(listeners: Listeners, parent: int | None = None, *, is_apart: bool = False) -> None:
    """Serve in this process until a signal to stop, or, if it was forked, until the parent (its process id
    from before; it may have ended by now) is gone. `is_apart`: it answers questions for all the others."""
    prepare()
    configure_database()
    our_domains.keep(settings.VAR_DIR / "our_domains.json")
    hop = configured_next_hop()
    certificate = configured_certificate()

    async def until_stopped() -> None:
        stop = asyncio.Event()
        for number in signals_to_stop():
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        doors = Doors(listeners, hop, certificate.context if certificate else None, is_apart=is_apart)
        await doors.open()
        keep_for_good()
        report_serving()
        while not stop.is_set() and parent in (None, os.getppid()):
            await doors.do_duties()
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


@dataclass
class _Place:
    """One of several processes: at what it listens, which it is now, and since when."""

    listeners: Listeners
    is_apart: bool
    process: int | None = None
    started: float = 0.0
    # Seconds to wait once it has ended, and until when it is waited.
    pause: float = WATCH_INTERVAL
    due: float = 0.0

    def wait_longer(self) -> None:
        self.due = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, PAUSE_MAX)


class Processes:
    """Several processes, each behind its share of the sockets (`shares_of`); one that dies is replaced, the
    sooner the longer it has lived."""

    def __init__(self, shares: Sequence[Listeners]) -> None:
        # Where all share all doors, none is apart.
        self.places = [_Place(share, is_apart=share is not shares[0]) for share in shares]
        self.stopping = False

    @property
    def running(self) -> list[int]:
        """The process ids."""
        return [place.process for place in self.places if place.process is not None]

    def run(self) -> None:
        """Run them until a signal to stop."""
        prepare()
        keep_for_good()
        for number in signals_to_stop():
            signal.signal(number, self._stop)
        while not self.stopping:
            for place in self.places:
                if place.process is None and time.monotonic() >= place.due:
                    self._start(place)
            self._reap()
            time.sleep(WATCH_INTERVAL)
        for process in self.running:
            os.kill(process, signal.SIGTERM)
        self._close_all_but({})
        deadline = time.monotonic() + STOP_TIME + 2
        while self.running and time.monotonic() < deadline:
            self._reap()
            time.sleep(WATCH_INTERVAL / 4)
        for process in self.running:
            os.kill(process, signal.SIGKILL)

    def _start(self, place: _Place) -> None:
        parent = os.getpid()
        try:
            process = os.fork()
        except OSError as error:
            warn_sparingly(logger, "a mail process cannot be started: %s", error.strerror)
            place.wait_longer()
            return
        if process:
            place.process, place.started = process, time.monotonic()
            return
        for number in signals_to_stop():
            signal.signal(number, signal.SIG_DFL)
        self._close_all_but(place.listeners)
        try:
            serve(place.listeners, parent, is_apart=place.is_apart)
        except BaseException as error:
            logger.error("mail process ended: %s", type(error).__name__)
        os._exit(1)

    def _close_all_but(self, own: Listeners) -> None:
        """Close this process's copies of the sockets at which it does not listen.

        As long as anybody has one, connections wait there, even if nobody accepts them any more: Postfix
        would wait for a process that finishes its messages, and the next mail server could not listen.
        """
        for place in self.places:
            for name, listener in place.listeners.items():
                if name not in own:
                    listener.close()

    def _reap(self) -> None:
        for place in self.places:
            if place.process is None:
                continue
            ended, _status = os.waitpid(place.process, os.WNOHANG)
            if ended:
                place.process = None
                if not self.stopping:
                    logger.warning("a mail process ended by itself; another takes its place")
                    if time.monotonic() - place.started > LONG_LIFE:
                        place.pause = WATCH_INTERVAL
                    place.wait_longer()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
