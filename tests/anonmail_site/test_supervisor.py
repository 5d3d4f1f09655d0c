"""`manage.py serve` under load, in a terminal that closes, with broken settings, and under systemd."""

import errno
import os
import pty
import re
import shutil
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from email import message_from_bytes
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from anonmail_site import supervisor as supervising
from tests.anonmail_site.test_start import (
    BASE,
    Start,
    ask,
    descendants,
    environment,
    free_port,
    is_running,
    running,
)
from tests.conftest import missing
from tests.rig.mail_process import is_soon

IDLE_MAX = 250 * 1024
ROOMY = {"ALIASES_PER_HOUR": "100000", "ALIASES_PER_DAY": "100000"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with running(tmp_path, free_port(), ENV_FILE=str(env_file(tmp_path)), **ROOMY) as started:
        ask(started.port, "GET", "/accounts/login/", timeout=60)
        with smtplib.SMTP("127.0.0.1", started.mail_port, timeout=60) as client:
            client.noop()
        # The supervisor has heard of it.
        time.sleep(0.5)
        yield started


def env_file(directory: Path, text: str = "WEB_WORKERS=2\n") -> Path:
    """The file with the settings."""
    file = directory / "env"
    file.write_text(text)
    return file


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def command(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def parts(start: Start) -> dict[str, int]:
    """The process of each part."""
    found = {}
    for child in children(start.process.pid):
        with suppress(OSError):
            for name, word in (("web", "gunicorn"), ("mail", "mailserver"), ("worker", "django worker")):
                if word in command(child):
                    found[name] = child
    return found


def credentials(start: Start) -> str:
    found = re.search(r"'Authentication: (.*?)'", start.said)
    assert found
    return found[1]


def new_alias(start: Start) -> str:
    status, _headers, body = ask(
        start.port, "POST", "/api/alias/random/new", Authentication=credentials(start)
    )
    assert status == 201, body
    found = re.search(rb'"email": ?"([^"]+)"', body)
    assert found
    return found[1].decode()


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
    with running(tmp_path, free_port(), WEB_DRAIN_SECONDS="8") as start:
        assert is_soon(lambda: is_ready(start.port) == (200, b'{"status": "ok"}'), 60), start.said
        # The supervisor has heard of it.
        time.sleep(0.5)
        start.process.terminate()

        assert is_soon(lambda: is_ready(start.port) == STOPPING, 4)
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
        start.process.terminate()
        assert is_soon(lambda: is_ready(start.port) == STOPPING, 10)

        start.process.terminate()

        assert start.process.wait(40) == 0


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

        assert is_soon(is_refused, 8)
        assert start.process.poll() is None
        slow.sendall(b"}")
        assert slow.recv(100).startswith(b"HTTP/1.1 201 ")
    assert start.process.wait(40) == 0


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


class Refused:
    """A system that has no room for another process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.logged: list[str] = []
        monkeypatch.setattr(os, "posix_spawn", self.spawn)
        for name in ("error", "info"):
            monkeypatch.setattr(supervising.logger, name, lambda text, *args: self.logged.append(text % args))

    def spawn(self, *args: object, **more: object) -> int:
        self.asked += 1
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_where_there_is_no_room_for_a_process_the_supervisor_lives_and_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = Refused(monkeypatch)
    supervisor = supervising.Supervisor({"web": [], "mail": []})
    before = open_files()

    supervisor._start_due()
    supervisor._start_due()  # at once, it is not tried again
    dues = [part.due for part in supervisor.parts]
    for part in supervisor.parts:
        part.due = 0
    supervisor._start_due()

    assert refused.asked == 4
    assert all(due is not None and 0 < due - time.monotonic() <= supervising.PAUSE_MIN for due in dues)
    assert [part.pause for part in supervisor.parts] == [4 * supervising.PAUSE_MIN] * 2
    assert refused.logged[0] == "the web process cannot be started: Resource temporarily unavailable"
    assert open_files() == before


def test_where_there_is_no_room_for_a_reload_the_old_process_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = Refused(monkeypatch)
    supervisor = supervising.Supervisor({"web": []})
    [web] = supervisor.parts
    web.due, web.has_served = None, True
    supervisor.children[2**22] = supervising.Child(web, 2**22, report=-1, is_serving=True)

    supervisor._hang_up()

    assert refused.asked == 1
    assert web.due is None
    assert refused.logged[-1].startswith("there is no new web process (Resource temporarily unavailable)")


def test_one_that_was_told_to_stop_takes_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may say that it serves all the same: nobody would serve then."""
    told: list[int] = []
    monkeypatch.setattr(os, "kill", lambda process, number: told.append(process))
    supervisor = supervising.Supervisor({"web": []})
    [web] = supervisor.parts
    old, new, dropped = 2**22, 2**22 + 1, 2**22 + 2
    pipes = {process: os.pipe() for process in (new, dropped)}
    supervisor.children = {
        old: supervising.Child(web, old, report=-1, is_serving=True),
        new: supervising.Child(web, new, report=pipes[new][0]),
        dropped: supervising.Child(web, dropped, report=pipes[dropped][0], stop_by=time.monotonic() + 25),
    }

    os.write(pipes[dropped][1], b"serving")
    supervisor._hear()

    assert told == []
    os.write(pipes[new][1], b"serving")
    supervisor._hear()
    assert told == [old]
    for ends in pipes.values():
        for end in ends:
            os.close(end)


def test_a_part_that_cannot_start_at_first_stops_everything(tmp_path: Path) -> None:
    start = Start(tmp_path, free_port(), MAIL_TLS_CERTIFICATE="/nowhere")

    start.process.wait(90)

    assert start.process.returncode == 1
    assert start.said.strip().endswith("The mail process could not start, so everything was stopped.")
    assert "The mail server cannot start" in start.said
    assert "Traceback" not in start.said


def kibibytes(process: int, kind: str) -> int:
    """The process's memory of this kind (proc_pid_smaps(5)): "Rss" is all, "Pss" the same where what several
    share is divided among them, and "Private_Dirty" what it has written."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    found = re.search(rf"^{kind}: +(\d+) kB", text, re.MULTILINE)
    assert found
    return int(found[1])


def has_kept_house(directory: Path) -> bool:
    """Whether the daily tasks have been done."""
    with closing(sqlite3.connect(directory / "var" / "anonmail.sqlite3")) as database:
        done = "SELECT 1 FROM core_tally WHERE name = 'housekeeping_success'"
        return database.execute(done).fetchone() is not None


def test_when_nothing_happens_little_memory_is_in_use(start: Start, tmp_path: Path) -> None:
    """The daily tasks have run by then; their process is gone until the next day."""
    supervisor = start.process.pid
    # Beside gunicorn with its two workers, and the mail server.
    (worker,) = (child for child in children(supervisor) if "django worker" in command(child))
    assert is_soon(lambda: has_kept_house(tmp_path), 90)
    assert is_soon(lambda: not children(worker), 60)
    assert len(descendants(supervisor)) == 5

    used = sum(kibibytes(process, "Pss") for process in {supervisor, *descendants(supervisor)})

    assert used < IDLE_MAX


def test_web_processes_share_the_site_and_inherit_nothing_that_is_open(start: Start) -> None:
    """It is loaded before they are forked, when a connection or a thread would be broken by it."""
    gunicorn = parts(start)["web"]
    workers = children(gunicorn)
    assert len(workers) == 2
    # Both have served.
    for _ in range(20):
        assert ask(start.port, "GET", "/accounts/login/")[0] == 200

    for worker in workers:
        assert kibibytes(worker, "Private_Dirty") < kibibytes(worker, "Rss") / 2

    assert re.search(r"^Threads:\s+1$", Path(f"/proc/{gunicorn}/status").read_text(), re.MULTILINE)
    opened = [os.readlink(file) for file in Path(f"/proc/{gunicorn}/fd").iterdir()]
    assert not [file for file in opened if ".sqlite3" in file]


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
