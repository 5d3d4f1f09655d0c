"""Runs Anonmail's processes: starts them again when they end, replaces them at SIGHUP, and stops them.

`manage.py serve` opens the sockets and then becomes this process, which holds nothing of Django. The sockets
stay open here, so that connections wait while a process is replaced. A process is told to stop when the one
that takes its place serves; if that one fails, the old one goes on.
"""

import fcntl
import json
import logging
import logging.config
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gunicorn.systemd import sd_notify

from core.listening import FIRST_GIVEN
from core.logs import logging_config
from core.supervised import REPORT, STAYING, SUPERVISOR

logger = logging.getLogger("anonmail_site.supervisor")

GUNICORN = ["-m", "gunicorn", "-c", "python:anonmail_site.gunicorn_conf", "anonmail_site.wsgi"]
# What each part runs, after the name of Python.
PARTS = {
    "web": GUNICORN,
    "mail": ["-m", "django", "mailserver"],
    "worker": ["-m", "django", "worker", "--settings=anonmail_site.worker_settings"],
}
# Seconds that a process has to finish what it is doing, and to begin to serve.
STOP_TIMEOUT = 25
START_TIMEOUT = 120
# Seconds before a process that ended is started again: doubled each time, until it has lived for a while.
PAUSE_MIN, PAUSE_MAX = 1, 30
LONG_LIFE = 60
_POLL = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# Descriptors from here on are ours; those below are numbered anew for each process.
_OURS = 100
# A process id is known only after the fork, and sd_listen_fds(3) asks for it. There may be no shell.
_SET_OWN_ID = (
    "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])"
)
_WITH_OWN_ID = [sys.executable, "-I", "-S", "-c", _SET_OWN_ID]


@dataclass
class Part:
    """What is to run: its command line, and the sockets that it is given, as (name, descriptor)."""

    name: str
    command: Sequence[str]
    sockets: Sequence[tuple[str, int]]
    has_served: bool = False
    pause: float = PAUSE_MIN
    # When to start it, if it does not run.
    due: float | None = 0


@dataclass
class Child:
    """A process. It writes into a pipe, whose other end is `report`, when it serves."""

    part: Part
    process: int
    report: int
    started: float = field(default_factory=time.monotonic)
    is_serving: bool = False
    # When it is killed, if it has been told to stop.
    stop_by: float | None = None


class Supervisor:
    """Runs the parts, each with its sockets.

    `drain_seconds`: for so long, a supervisor that is told to stop only says so to its web processes. They
    answer load balancers that they are not ready, and go on serving until nobody sends them anything.
    """

    def __init__(self, parts: Mapping[str, Sequence[tuple[str, int]]], drain_seconds: int = 0) -> None:
        self.parts = [
            Part(name, [sys.executable, *PARTS[name]], [(label, _moved(number)) for label, number in sockets])
            for name, sockets in parts.items()
        ]
        self.children: dict[int, Child] = {}
        self.drain_seconds = drain_seconds if "web" in parts else 0
        # The other end, which is ours, is closed to say that all will stop.
        self.staying, self.our_end = map(_moved, os.pipe())
        # When everything is stopped, once somebody has asked for it.
        self.stop_at: float | None = None
        self.failed = ""
        self.has_told = False
        self.survives_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self.has_terminal = _has_terminal()

    def run(self) -> str:
        """Run until SIGTERM, SIGINT or a closed terminal (""), or until a part fails to start at first (its
        name). All processes have ended."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            while not self.failed:
                self._start_due()
                arrived = signal.sigtimedwait(_SIGNALS, _POLL)
                number = arrived.si_signo if arrived else 0
                if number in (signal.SIGTERM, signal.SIGINT) or (number == signal.SIGHUP and self._hang_up()):
                    self._drain()
                if self.stop_at is not None and time.monotonic() >= self.stop_at:
                    break
                self._reap()
                self._hear()
                self._kill_overdue()
            return self.failed
        finally:
            sd_notify("STOPPING=1", logger)
            self._stop()

    def _drain(self) -> None:
        """Tell the processes that they will be stopped. Whoever asks a second time does not wait."""
        if self.stop_at is not None or not self.drain_seconds or not self._have_served():
            self.stop_at = time.monotonic()
            return
        logger.info("stopping in %s seconds", self.drain_seconds)
        sd_notify("STOPPING=1", logger)
        os.close(self.our_end)
        self.stop_at = time.monotonic() + self.drain_seconds

    def _start_due(self) -> None:
        for part in self.parts:
            if part.due is not None and time.monotonic() >= part.due:
                part.due = None
                self._start(part)

    def _have_served(self) -> bool:
        return all(part.has_served for part in self.parts)

    def _is_starting(self) -> bool:
        return any(not child.is_serving for part in self.parts for child in self._of(part))

    def _start(self, part: Part) -> None:
        """Start one more process of the part; later, if the system has no room for one now."""
        try:
            self._spawn(part)
        except OSError as error:
            if any(child.is_serving for child in self._of(part)):
                logger.error(
                    "there is no new %s process (%s); the old one goes on", part.name, error.strerror
                )
            else:
                logger.error("the %s process cannot be started: %s", part.name, error.strerror)
                self._start_later(part)

    def _start_later(self, part: Part) -> None:
        part.due = time.monotonic() + part.pause
        part.pause = min(2 * part.pause, PAUSE_MAX)

    def _spawn(self, part: Part) -> None:
        report, its_end = os.pipe()
        its_end = _moved(its_end)
        descriptors = [number for _label, number in part.sockets] + [its_end, self.staying]
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"} | {
            # The id is passed on, because this process may have ended by the time the others look for it.
            SUPERVISOR: str(os.getpid()),
            "LISTEN_FDS": str(len(part.sockets)),
            "LISTEN_FDNAMES": ":".join(label for label, _number in part.sockets),
            REPORT: str(FIRST_GIVEN + len(part.sockets)),
            STAYING: str(FIRST_GIVEN + len(part.sockets) + 1),
        }
        try:
            process = os.posix_spawn(
                _WITH_OWN_ID[0],
                [*_WITH_OWN_ID, *part.command],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, number, FIRST_GIVEN + position)
                    for position, number in enumerate(descriptors)
                ],
                # In a session of its own, so that Ctrl-C reaches only this process, which stops the others.
                setsid=True,
                setsigmask=[],
            )
        except OSError:
            os.close(report)
            raise
        finally:
            os.close(its_end)
        self.children[process] = Child(part, process, report)

    def _hang_up(self) -> bool:
        """Whether SIGHUP means to stop, because the terminal was closed. Otherwise, reload."""
        # The kernel may be about to take the terminal away.
        time.sleep(_POLL)
        if self.has_terminal and not _has_terminal():
            self.has_terminal = False
            return not self.survives_terminal
        if self.stop_at is not None:
            return False
        logger.info("reloading")
        sd_notify("RELOADING=1", logger)
        self.has_told = False
        for part in self.parts:
            for child in self._of(part):
                if not child.is_serving:
                    self._end(child)
            part.due = None
            self._start(part)
        return False

    def _of(self, part: Part) -> Iterator[Child]:
        """The part's processes that have not been told to stop."""
        return (child for child in self.children.values() if child.part is part and child.stop_by is None)

    def _reap(self) -> None:
        while self.children:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            if child := self.children.pop(process, None):
                os.close(child.report)
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, status: int) -> None:
        part, now = child.part, time.monotonic()
        if child.stop_by is not None:
            return
        if any(other.is_serving for other in self._of(part)):
            logger.error("the new %s process failed (status %s); the old one goes on", part.name, status)
        elif not part.has_served:
            self.failed = part.name
        else:
            if now - child.started > LONG_LIFE:
                part.pause = PAUSE_MIN
            logger.error("the %s process ended (status %s); it is started again", part.name, status)
            self._start_later(part)

    def _hear(self) -> None:
        """Let those that serve by now take the place of those before them.

        One that was told to stop while it started may still say that it serves.
        """
        waiting = {
            child.report: child for part in self.parts for child in self._of(part) if not child.is_serving
        }
        for report in select.select(list(waiting), [], [], 0)[0]:
            child = waiting[report]
            if not os.read(report, 100):
                # It has ended.
                continue
            child.is_serving = child.part.has_served = True
            for other in self._of(child.part):
                if other is not child:
                    logger.info("the new %s process serves, and the old one stops", child.part.name)
                    self._end(other)
        if not self.has_told and self._have_served() and not self._is_starting():
            sd_notify("READY=1", logger)
            self.has_told = True

    def _end(self, child: Child) -> None:
        child.stop_by = time.monotonic() + STOP_TIMEOUT
        os.kill(child.process, signal.SIGTERM)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            is_late = not child.is_serving and now > child.started + START_TIMEOUT
            if is_late or (child.stop_by is not None and now > child.stop_by):
                os.killpg(child.process, signal.SIGKILL)

    def _stop(self) -> None:
        for part in self.parts:
            # Otherwise, connections would wait here for processes that accept no more, and then be reset.
            for _label, number in part.sockets:
                os.close(number)
        for child in list(self.children.values()):
            if child.stop_by is None:
                self._end(child)
        while self.children:
            signal.sigtimedwait([signal.SIGCHLD], _POLL)
            self._reap()
            self._kill_overdue()


def _moved(number: int) -> int:
    """The same file under a descriptor of our own range."""
    moved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _OURS)
    os.close(number)
    return moved


def _has_terminal() -> bool:
    """Whether this process has a terminal that closes with its window."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def main() -> None:
    """Run what `manage.py serve` has put into the command line."""
    # Files that these processes create are private to this user.
    os.umask(0o077)
    logging.config.dictConfig(logging_config("INFO", sys.argv[2]))
    if failed := Supervisor(json.loads(sys.argv[1]), int(sys.argv[3])).run():
        sys.exit(f"The {failed} process could not start, so everything was stopped.")
    sys.stdout.write("Stopped.\n")


if __name__ == "__main__":
    main()
