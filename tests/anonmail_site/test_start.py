"""The start, as its user sees it: `manage.py runall` in a process of its own, on a fresh directory."""

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.rig.ports import free_port

BASE = Path(__file__).resolve().parents[2]
# A DNS server that does not answer.
NOBODY = "127.0.0.1:1"


def environment(var: Path, port: int, mail_port: int = 1, submission_port: int = 1) -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "HOME": str(var)}
    return kept | {
        "ENV_FILE": "",
        "VAR_DIR": str(var / "var"),
        "PORT": str(port),
        "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
        "PYTHONUNBUFFERED": "1",
        "MAIL_LISTEN": f"127.0.0.1:{mail_port}",
        "MAIL_SUBMISSION_LISTEN": f"127.0.0.1:{submission_port}",
        "DNS_RESOLVERS": NOBODY,
    }


class Start:
    """`runall` in a process group of its own, as a terminal has it."""

    def __init__(self, var: Path, port: int, **more: str) -> None:
        self.port, self.mail_port, self.submission_port = port, free_port(), free_port()
        self.log = var / f"start-{time.monotonic_ns()}.log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "runall"],
                cwd=BASE,
                env=environment(var, port, self.mail_port, self.submission_port) | more,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Ignored if the tests were started with nohup.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_until_served(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if "Anonmail serves" in self.said and probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"nothing serves: {self.said}")

    def interrupt(self) -> None:
        """Ctrl-C."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(120)


@contextmanager
def running(var: Path, port: int, **more: str) -> Iterator[Start]:
    start = Start(var, port, **more)
    try:
        start.wait_until_served()
        yield start
    finally:
        start.interrupt()


def ask(
    port: int, method: str, path: str, *, timeout: float = 60, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()


def test_the_first_start_prints_what_is_needed_and_the_second_keeps_it(tmp_path: Path) -> None:
    port = free_port()

    with running(tmp_path, port) as start:
        said = start.said
        line = re.search(r"curl -X POST '(.*?)'.*?'Authentication: (.*?)'", said, re.DOTALL)
        assert line, said
        path, key = line[1].removeprefix(f"http://localhost:{port}"), line[2]
        created = ask(port, "POST", path, Authentication=key)
        sign_in = ask(port, "GET", "/accounts/login/")
        style = re.search(rb'href="(/static/[^"]+\.css)"', sign_in[2])
        taken = subprocess.run(
            [sys.executable, "manage.py", "runall"],
            cwd=BASE,
            env=environment(tmp_path, port),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    assert created[0] == 201
    assert re.fullmatch(r"github\.[a-z]+@example\.com", json.loads(created[2])["alias"])
    assert sign_in[0] == 200
    assert style
    assert re.search(r"Password +\w{20} ", said)
    assert taken.returncode == 1
    assert taken.stderr.strip() == (
        f"CommandError: Port {port} of 127.0.0.1 is taken or not allowed. "
        f"Choose another one: make run PORT={port + 1}"
    )
    assert start.process.returncode == 0
    assert start.said.strip().endswith("Stopped.")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0

    with running(tmp_path, port) as start:
        listed = ask(port, "GET", "/api/v2/aliases?page_id=0", Authentication=key)

    assert "Password" not in start.said
    assert len(json.loads(listed[2])["aliases"]) == 1


def test_a_mail_to_a_fresh_alias_arrives(tmp_path: Path) -> None:
    """The README's commands: make an alias, send it a mail, read what arrived, and send one from it."""
    port = free_port()

    with running(tmp_path, port) as start:
        line = re.search(r"curl -X POST '(.*?)'.*?'Authentication: (.*?)'", start.said, re.DOTALL)
        assert line
        path, key = line[1].removeprefix(f"http://localhost:{port}"), line[2]
        alias = json.loads(ask(port, "POST", path, Authentication=key)[2])["alias"]
        sent, answered = (
            subprocess.run(
                [sys.executable, "manage.py", *command],
                cwd=BASE,
                env=environment(tmp_path, port, start.mail_port, start.submission_port),
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            for command in (["send_test_mail"], ["send_from_alias", "friend@elsewhere.example"])
        )
    arrived = sorted((tmp_path / "var" / "mail" / "new").iterdir(), key=lambda file: file.stat().st_mtime_ns)

    assert sent.stdout.strip() == f"Accepted for {alias}."
    assert answered.stdout.strip() == f"Sent from {alias}.", answered.stderr
    text, outgoing = (file.read_text() for file in arrived)
    assert f"From: {alias}\n" in outgoing
    assert "Delivered-To: friend@elsewhere.example\n" in outgoing
    assert "admin@example.com" not in outgoing
    assert "Delivered-To: admin@example.com\n" in text
    assert f"X-Anonmail-Alias: {alias}\n" in text
    assert "Hello, this mail was sent to an alias." in text
    with closing(sqlite3.connect(tmp_path / "var" / "anonmail.sqlite3")) as database:
        assert database.execute("SELECT forwards FROM aliases_alias").fetchall() == [(1,)]


def descendants(process: int) -> set[int]:
    """All that this process has started, and what that has started."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except FileNotFoundError:
        return set()
    return {int(child) for child in children}.union(*(descendants(int(child)) for child in children))


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nothing_outlives_a_start_that_was_killed(tmp_path: Path) -> None:
    """It can stop nobody: web server and mail processes each see that it is gone."""
    port = free_port()

    with running(tmp_path, port, MAIL_PROCESSES="2") as start:
        deadline = time.monotonic() + 120
        # gunicorn and its two workers, the mail server and its two processes
        while len(started := descendants(start.process.pid)) < 6 and time.monotonic() < deadline:
            time.sleep(0.1)
        # each has looked at its parent by now
        time.sleep(5)
        start.process.kill()
        start.process.wait(120)
        deadline = time.monotonic() + 20
        while (
            left := {process for process in started if is_running(process)}
        ) and time.monotonic() < deadline:
            time.sleep(0.1)

    assert len(started) >= 6
    assert left == set()
    for taken in (port, start.mail_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", taken)) != 0


def test_what_the_start_makes_is_private_and_durable(tmp_path: Path) -> None:
    prepare = [sys.executable, "manage.py", "prepare"]

    subprocess.run(prepare, cwd=BASE, env=environment(tmp_path, 1), check=True, capture_output=True)

    var = tmp_path / "var"
    assert stat.S_IMODE(var.stat().st_mode) == 0o700
    for name in ("secret_key", "anonmail.sqlite3"):
        assert stat.S_IMODE((var / name).stat().st_mode) == 0o600
    with closing(sqlite3.connect(var / "anonmail.sqlite3")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert len((var / "secret_key").read_text().strip()) == 100
