"""Web hosts and mail hosts: processes that a test can kill, stop as an operator does, and start again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.rig.availability.proxies import listens
from tests.rig.faults import DOORS, ROOT, MailServer
from tests.rig.mta import Ports, Postfix, free_ports

# Seconds for which a host may take to start or to stop.
PATIENCE = 60


class WebHost:
    """gunicorn, as the site configures it, at a port of its own."""

    def __init__(self, env: Mapping[str, str], log: Path, root: Path = ROOT) -> None:
        """`root`: the project's files, which may be another revision's."""
        (self.port,) = free_ports(1)
        self.env, self.log, self.root = dict(env), log, root
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        own = {"HOST": "127.0.0.1", "PORT": str(self.port), "WEB_WORKERS": "1"}
        command = ["-m", "gunicorn", "-c", "python:anonmail_site.gunicorn_conf", "anonmail_site.wsgi"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.root,
                env=self.env | own,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not listens(self.port):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """End all of it in an instant."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Stop it as an operator does: what was asked is answered."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()


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
