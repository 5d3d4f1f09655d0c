"""`manage.py serve` under load, with broken settings, and while it is told to stop."""

import errno
import os
import signal
import smtplib
import socket
import threading
import time
from collections import Counter
from contextlib import closing
from email import message_from_bytes
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from anonmail_site import supervisor as supervising
from tests.anonmail_site.test_start import (
    Start,
    ask,
    is_running,
    running,
)
from tests.rig.mail_process import is_soon
from tests.rig.ports import free_port
from tests.rig.supervised import children, credentials, env_file, new_alias, parts


@pytest.mark.parametrize("part", ["web", "mail", "worker"])
def test_a_process_that_dies_is_started_again_and_nobody_is_turned_away(start: Start, part: str) -> None:
    before = parts(start)
    os.kill(before[part], signal.SIGKILL)

    # Whoever comes in between waits.
    assert ask(start.port, "GET", "/accounts/login/")[0] == 200
    with smtplib.SMTP("127.0.0.1", start.mail_port, timeout=60) as client:
        assert client.noop()[0] == 250

    assert is_soon(lambda: f"the {part} process ended (status -9); it is started again" in start.said, 60)
    assert is_soon(lambda: set(parts(start)) == set(before), 60)
    after = parts(start)
    assert after.pop(part) != before.pop(part)
    assert after == before


class Load:
    """Threads that ask the web server, create aliases and deliver mail, until told to stop."""

    def __init__(self, start: Start, alias: str) -> None:
        self.start, self.alias, self.key = start, alias, credentials(start)
        self.stop = threading.Event()
        self.failed: list[str] = []
        self.answered, self.put_off = Counter[str](), 0
        self.delivered: list[str] = []
        jobs = (self.read, self.read_kept, self.create, self.deliver)
        self.threads = [threading.Thread(target=self.run, args=[job]) for job in jobs]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)

    def run(self, job: "threading.Thread | object") -> None:
        while not self.stop.is_set():
            try:
                job()  # type: ignore[operator]
            except (OSError, HTTPException, smtplib.SMTPException) as error:
                self.failed.append(f"{job.__name__}: {error!r}")  # type: ignore[attr-defined]

    def request(self, connection: HTTPConnection, method: str, path: str, expected: int) -> bool:
        """Whether the connection can be used again."""
        connection.request(method, path, headers={"Authentication": self.key})
        answer = connection.getresponse()
        answer.read()
        self.answered[path] += 1
        if answer.status != expected:
            self.failed.append(f"{path}: {answer.status}")
        return not answer.will_close

    def read(self) -> None:
        with closing(HTTPConnection("127.0.0.1", self.start.port, timeout=60)) as connection:
            self.request(connection, "GET", "/api/user_info", 200)

    def read_kept(self) -> None:
        """Over one connection, for as long as it lasts. A server can close it while nothing happens there, as
        it may be doing just now; every client then opens another one (RFC 9112 §9.3.1)."""
        path, answered = "/api/v2/aliases?page_id=0", 0
        with closing(HTTPConnection("127.0.0.1", self.start.port, timeout=60)) as connection:
            try:
                while self.request(connection, "GET", path, 200) and not self.stop.is_set():
                    answered += 1
            except ConnectionError:
                if not answered:
                    raise

    def create(self) -> None:
        with closing(HTTPConnection("127.0.0.1", self.start.port, timeout=60)) as connection:
            self.request(connection, "POST", "/api/alias/random/new", 201)

    def deliver(self) -> None:
        """A message, as a mail server delivers it: tried again if it is put off."""
        name = f"message {len(self.delivered)}"
        text = (
            f"From: bob@sender.test\r\nSubject: {name}\r\nMessage-ID: <{name[8:]}@sender.test>\r\n\r\nHi\r\n"
        )
        while True:
            try:
                with smtplib.SMTP("127.0.0.1", self.start.mail_port, timeout=60) as client:
                    client.sendmail("bob@sender.test", [self.alias], text)
                self.delivered.append(name)
                return
            except (smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException) as error:
                if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 500:
                    raise
                self.put_off += 1
                time.sleep(0.05)


def test_reloads_under_load_fail_no_request_and_lose_no_mail(start: Start, tmp_path: Path) -> None:
    """New processes with the present settings take over; what the old ones have begun, they finish."""
    alias = new_alias(start)
    with Load(start, alias) as load:
        generations = [parts(start)]
        for workers in (1, 3):
            env_file(tmp_path, f"WEB_WORKERS={workers}\n")
            os.kill(start.process.pid, signal.SIGHUP)
            old = generations[-1]
            assert is_soon(lambda old=old: not any(map(is_running, old.values())), 90), start.said
            generations.append(parts(start))
            assert is_soon(lambda workers=workers: len(children(generations[-1]["web"])) == workers, 30), (
                start.said
            )
        time.sleep(1)

    arrived = [
        message_from_bytes(file.read_bytes()).get("Subject")
        for file in (tmp_path / "var" / "mail" / "new").iterdir()
    ]
    assert load.failed == []
    assert Counter(arrived) == Counter(load.delivered)
    assert len(load.delivered) > 20
    assert all(load.answered[path] > 20 for path in ("/api/user_info", "/api/alias/random/new"))
    # Nobody had to come again: a connection waits for whoever serves next.
    assert load.put_off == 0
    processes = [process for generation in generations for process in generation.values()]
    assert len(set(processes)) == 9
    assert "Traceback" not in start.said


def test_a_reload_that_fails_leaves_the_old_processes(start: Start, tmp_path: Path) -> None:
    before = parts(start)

    env_file(tmp_path, "this is not a setting\n")
    os.kill(start.process.pid, signal.SIGHUP)
    for part in before:
        assert is_soon(
            lambda part=part: f"the new {part} process failed (status 1); the old one" in start.said
        )

    assert ask(start.port, "GET", "/accounts/login/")[0] == 200
    assert parts(start) == before
    assert f"Line 1 of {tmp_path}/env is not NAME=value" in start.said

    env_file(tmp_path)
    os.kill(start.process.pid, signal.SIGHUP)
    assert is_soon(lambda: not any(map(is_running, before.values())), 60)
    assert ask(start.port, "GET", "/accounts/login/")[0] == 200


def is_ready(port: int) -> tuple[int, bytes]:
    """What a stranger is told."""
    status, _headers, body = ask(port, "GET", "/health/ready", **{"X-Forwarded-For": "192.0.2.7"})
    return status, body


STOPPING = (503, b'{"status": "stopping"}')


def test_a_server_that_is_to_stop_says_so_and_serves_on_for_a_while(tmp_path: Path) -> None:
    with running(tmp_path, free_port(), WEB_DRAIN_SECONDS="20") as start:
        assert is_soon(lambda: is_ready(start.port) == (200, b'{"status": "ok"}'), 60), start.said
        # The supervisor has heard of it.
        time.sleep(0.5)
        start.process.terminate()

        assert is_soon(lambda: is_ready(start.port) == STOPPING, 15)
        # What is new is still answered, and a reload changes nothing.
        os.kill(start.process.pid, signal.SIGHUP)
        assert ask(start.port, "GET", "/accounts/login/")[0] == 200
        assert is_ready(start.port) == STOPPING
        assert start.process.wait(60) == 0
    assert "reloading" not in start.said
    assert start.said.strip().endswith("Stopped.")


def test_who_asks_a_second_time_does_not_wait(tmp_path: Path) -> None:
    with running(tmp_path, free_port(), WEB_DRAIN_SECONDS="60") as start:
        assert is_soon(lambda: is_ready(start.port) == (200, b'{"status": "ok"}'), 60), start.said
        time.sleep(0.5)
        began = time.monotonic()
        start.process.terminate()
        assert is_soon(lambda: is_ready(start.port) == STOPPING, 40)

        start.process.terminate()

        assert start.process.wait(began + 58 - time.monotonic()) == 0


def test_nobody_waits_at_a_server_that_finishes_its_last_request(start: Start) -> None:
    """A new connection is refused at once, so that its client can go elsewhere."""
    head = "POST /api/alias/random/new HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Authentication: {credentials(start)}\r\nContent-Length: 2\r\n\r\n{{"
    with socket.create_connection(("127.0.0.1", start.port), 30) as slow:
        slow.sendall(head.encode())
        time.sleep(0.5)
        start.process.terminate()

        def is_refused() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", start.port)) == errno.ECONNREFUSED

        assert is_soon(is_refused, 20)
        assert start.process.poll() is None
        slow.sendall(b"}")
        assert slow.recv(100).startswith(b"HTTP/1.1 201 ")
    assert start.process.wait(120) == 0


def test_a_storm_of_reloads_leaves_one_process_of_each_kind(start: Start) -> None:
    """Each one ends those that have not begun to serve; the old ones serve all the time."""
    before = parts(start)
    deadline = time.monotonic() + 10
    answers = set()
    while time.monotonic() < deadline:
        os.kill(start.process.pid, signal.SIGHUP)
        answers.add(ask(start.port, "GET", "/health/live", timeout=60)[0])
        with smtplib.SMTP("127.0.0.1", start.mail_port, timeout=60) as client:
            answers.add(client.noop()[0])

    assert answers == {200, 250}
    assert is_soon(lambda: not any(map(is_running, before.values())), 90), start.said
    assert is_soon(lambda: len(children(start.process.pid)) == len(supervising.PARTS), 60), start.said
    assert ask(start.port, "GET", "/accounts/login/", timeout=60)[0] == 200
    assert "Traceback" not in start.said
    assert "failed" not in start.said


def test_a_process_that_keeps_ending_is_started_again_more_and_more_rarely(
    start: Start, tmp_path: Path
) -> None:
    env_file(tmp_path, "this is not a setting\n")
    os.kill(parts(start)["mail"], signal.SIGKILL)

    assert is_soon(lambda: start.said.count("the mail process ended") >= 3, 60)
    time.sleep(10)
    times = start.said.count("Line 1 of")
    env_file(tmp_path)

    # After 1, 2, 4, 8 seconds.
    assert times <= 5, start.said
    assert ask(start.port, "GET", "/accounts/login/")[0] == 200
    with smtplib.SMTP("127.0.0.1", start.mail_port, timeout=90) as client:
        assert client.noop()[0] == 250


def test_a_part_that_cannot_start_at_first_stops_everything(tmp_path: Path) -> None:
    start = Start(tmp_path, free_port(), MAIL_TLS_CERTIFICATE="/nowhere")

    start.process.wait(90)

    assert start.process.returncode == 1
    assert start.said.strip().endswith("The mail process could not start, so everything was stopped.")
    assert "The mail server cannot start" in start.said
    assert "Traceback" not in start.said
