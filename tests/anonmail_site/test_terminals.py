"""The site in a terminal that is closed, and with sockets that systemd holds."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.anonmail_site.test_start import (
    BASE,
    ask,
    descendants,
    environment,
    is_running,
)
from tests.conftest import missing
from tests.rig.mail_process import is_soon
from tests.rig.ports import free_port
from tests.rig.supervised import children, command


class Terminal:
    """A terminal window in which a command runs."""

    def __init__(self, tmp_path: Path, *prefix: str) -> None:
        self.port, self.log = free_port(), tmp_path / "log"
        env = environment(tmp_path, self.port, free_port(), free_port())
        line = [*prefix, sys.executable, "manage.py", "runall"]
        self.process, self.window = pty.fork()
        if not self.process:
            os.chdir(BASE)
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT)
            for stream in (1, 2):
                os.dup2(log, stream)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.execvpe(line[0], line, env)

    def serves(self) -> bool:
        with suppress(OSError, HTTPException):
            return ask(self.port, "GET", "/accounts/login/")[0] == 200
        return False

    def end(self) -> None:
        for process in {self.process, *descendants(self.process)}:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        os.waitpid(self.process, 0)


def test_a_closed_terminal_leaves_nothing_behind(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    try:
        assert is_soon(terminal.serves, 120), terminal.log.read_text()
        started = descendants(terminal.process)

        os.close(terminal.window)

        assert len(started) >= 4
        assert is_soon(lambda: not any(map(is_running, {terminal.process, *started})), 40)
    finally:
        terminal.end()


def test_with_nohup_a_closed_terminal_changes_nothing_and_a_reload_works(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "nohup")
    try:
        assert is_soon(terminal.serves, 120), terminal.log.read_text()
        web = next(child for child in children(terminal.process) if "gunicorn" in command(child))

        os.close(terminal.window)
        time.sleep(3)

        assert terminal.serves()
        assert is_running(web)
        assert "reloading" not in terminal.log.read_text()
        os.kill(terminal.process, signal.SIGHUP)
        assert is_soon(lambda: not is_running(web), 60), terminal.log.read_text()
        assert terminal.serves()
    finally:
        terminal.end()


@pytest.mark.parametrize(
    "line", ["manage.py serve web", "-m gunicorn -c python:anonmail_site.gunicorn_conf anonmail_site.wsgi"]
)
def test_systemd_can_hold_the_sockets(tmp_path: Path, line: str) -> None:
    """As anonmail-web.socket does: the first connection starts the server, and finds it."""
    activate = shutil.which("systemd-socket-activate") or missing("systemd-socket-activate")
    port, place, closed = free_port(), tmp_path / "web", free_port()
    env = environment(tmp_path, closed)
    prepare = [sys.executable, "manage.py", "prepare"]
    subprocess.run(prepare, cwd=BASE, env=env, check=True, capture_output=True)
    passed = [f"--setenv={name}" for name in env if name != "PATH"]
    sockets = [f"--listen=127.0.0.1:{port}", f"--listen={place}", "--fdname=web:web"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [str(activate), *sockets, *passed, sys.executable, *line.split()], cwd=BASE, env=env, stderr=log
        )
    try:
        assert is_soon(lambda: place.exists())
        answers = [ask(port, "GET", "/accounts/login/", timeout=60)[0] for _ in range(4)]
        refused = pytest.raises(OSError, match="refused")
        with refused:
            ask(closed, "GET", "/health")
    finally:
        process.terminate()
        process.wait(40)

    assert answers == [200] * 4
    assert "Traceback" not in (tmp_path / "log").read_text()
