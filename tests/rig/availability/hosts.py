"""Web hosts and mail hosts: processes that a test can kill, stop as an operator does, and start again."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from core.listening import Endpoint, listening_socket
from tests.rig.availability.proxies import listens
from tests.rig.faults import DOORS, ROOT, MailServer
from tests.rig.mta import Ports, Postfix
from tests.rig.ports import free_port

# Seconds for which a host may take to start or to stop.
PATIENCE = 60
# Seconds for which a web host that is told to stop goes on serving (docs/high-availability.md).
DRAIN_SECONDS = 5
# What systemd runs, and what ran before there was such a command.
SERVE = ["manage.py", "serve", "web"]
GUNICORN = ["-m", "gunicorn", "-c", "python:anonmail_site.gunicorn_conf", "anonmail_site.wsgi"]
# Takes a socket under the number that systemd gives the first one, with the process's id (sd_listen_fds(3)).
_TAKE = """
import os, sys
given = int(sys.argv[1])
os.dup2(given, 3)
if given != 3:
    os.close(given)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class WebHost:
    """`manage.py serve web` at a port of its own.

    The port is open before and after, as with anonmail-web.socket. A revision that does not have this command
    is run by gunicorn alone.
    """

    def __init__(self, env: Mapping[str, str], log: Path, root: Path = ROOT) -> None:
        """`root`: the project's files, which may be another revision's."""
        self.port = free_port()
        self.env, self.log, self.root = dict(env), log, root
        self.process: subprocess.Popen[bytes] | None = None
        self._listener: socket.socket | None = None

    @property
    def drains_itself(self) -> bool:
        """Whether this revision says that it will stop, and goes on serving for a while."""
        return "WEB_DRAIN_SECONDS" in (self.root / ".env.example").read_text()

    def start(self) -> None:
        """Start it; `wait` says when it serves."""
        can_serve = (self.root / "anonmail_site/management/commands/serve.py").exists()
        own = {"HOST": "127.0.0.1", "PORT": str(self.port), "WEB_WORKERS": "1"}
        own |= {"WEB_DRAIN_SECONDS": str(DRAIN_SECONDS)}
        command, given = [sys.executable, *(SERVE if can_serve else GUNICORN)], []
        if can_serve:
            self._listener = self._listener or listening_socket(Endpoint("127.0.0.1", self.port))
            given = [self._listener.fileno()]
            own |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
            command = [sys.executable, "-I", "-S", "-c", _TAKE, str(given[0]), *command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.root,
                env=self.env | own,
                pass_fds=given,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, probe: str = "/health/ready") -> None:
        """Wait until it answers the probe with 200."""
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready(probe):
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def _is_ready(self, probe: str) -> bool:
        if not listens(self.port):
            return False
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            try:
                connection.request("GET", probe)
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    def reload(self) -> None:
        """Replace its processes by new ones, as `systemctl reload` does."""
        assert self.process is not None
        before = _processes_below(self.process.pid)
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while any(Path(f"/proc/{each}").exists() for each in before):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """End all of it in an instant, and its socket too."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self.process is None or self.process.poll() is not None:
            return
        # Each of its processes has a session of its own.
        for each in (self.process.pid, *_processes_below(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Stop it as an operator does: what was asked is answered. The socket stays open for the next one."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()


def _processes_below(process: int) -> list[int]:
    """All that this one has started, and what those have."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [each for child in map(int, children) for each in (child, *_processes_below(child))]


@dataclass
class MailHost:
    """A Postfix with Anonmail's mail server behind it."""

    postfix: Postfix
    ports: Ports
    env: Mapping[str, str]
    log: Path
    root: Path = ROOT

    def __post_init__(self) -> None:
        self.anonmail = self._server()

    def _server(self) -> MailServer:
        settings = {name: str(value) for name, value in self.ports.settings().items()}
        # The table of domains has been written; nothing changes in it.
        settings["MAIL_POSTFIX_DIRECTORY"] = ""
        # Postfix hands mail over by LMTP here, and asks the policy service.
        closed = dict.fromkeys(("MAIL_LISTEN", "MAIL_MILTER_LISTEN", "MAIL_SUBMISSION_LISTEN"), "")
        assert closed.keys() <= set(DOORS)
        return MailServer(self.env | settings | closed, self.log, self.root)

    def upgrade(self, root: Path) -> None:
        """Stop Anonmail here, and start another revision of it."""
        self.end()
        self.root = root
        self.anonmail = self._server()
        self.anonmail.start()

    def end(self) -> None:
        """Stop Anonmail here, whichever revision runs."""
        self.anonmail.end()

    def kill_postfix(self) -> None:
        """End all of Postfix in an instant."""
        self.postfix.kill()

    def start_postfix(self) -> None:
        """Start it again, over the queue that it left."""
        deadline = time.monotonic() + PATIENCE
        while not listens(self.ports.smtp):
            # Until its processes have noticed that the first one is gone, it says that it runs still.
            with suppress(RuntimeError):
                self.postfix.command("postfix", "start")
            assert time.monotonic() < deadline, self.postfix.log.read_text()[-2000:]
            time.sleep(0.2)
