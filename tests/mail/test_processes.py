"""Real `manage.py mailserver` processes: their sockets, their end, and what they keep in memory."""

import os
import secrets
import shutil
import signal
import smtplib
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FILL = """
from accounts.models import User
from aliases.models import Alias
from allauth.account.models import EmailAddress
from domains.models import Domain
Domain.objects.create(name="example.com", anonmail_enabled=True)
alice = User.objects.create_user("alice@example.com")
EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
print(Alias.objects.issue(owner=alice, destinations=["alice@home.test"]).address)
"""
DOORS = {"lmtp": "MAIL_LMTP_LISTEN", "policy": "MAIL_POLICY_LISTEN", "socketmap": "MAIL_SOCKETMAP_LISTEN"}
MESSAGE = b"From: Bob <bob@sender.test>\r\nSubject: Hi\r\n\r\nHello\r\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_soon(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A database file with an alias of alice's, and the alias."""
    directory = tmp_path_factory.mktemp("filled")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
        "ENV_FILE": "",
        "SECRET_KEY": "x" * 50,
        "VAR_DIR": str(directory),
    }
    environment.pop("DATABASE_URL", None)
    assert manage(environment, "migrate", "-v0").returncode == 0
    made = manage(environment, "shell", "-v0", "-c", FILL)
    assert made.returncode == 0, made.stderr
    return directory / "anonmail.sqlite3", made.stdout.split()[-1]


class Server:
    """A mail server with a SQLite file, all its doors, and a Maildir."""

    def __init__(self, directory: Path, database: Path) -> None:
        self.directory = directory
        self.port = free_port()
        shutil.copy(database, directory / "anonmail.sqlite3")
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
            "ENV_FILE": "",
            "SECRET_KEY": secrets.token_hex(32),
            "VAR_DIR": str(directory),
            "MAIL_LISTEN": f"127.0.0.1:{self.port}",
            "MAIL_HOSTNAME": "mx.example.com",
            **{setting: f"unix:{directory}/{name}" for name, setting in DOORS.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **options: str) -> subprocess.Popen[bytes]:
        """The process, which serves by now."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "mailserver"],
                cwd=ROOT,
                env={**self.environment, **options},
                stderr=log,
                start_new_session=True,
            )
        assert is_soon(self.is_serving), self.log()
        return self.process

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def connect(self, door: str) -> socket.socket:
        if door == "smtp":
            return socket.create_connection(("127.0.0.1", self.port), 20)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        try:
            connection.connect(str(self.directory / door))
        except OSError:
            connection.close()
            raise
        return connection

    def ask(self, door: str, octets: bytes = b"") -> bytes:
        """The beginning of what a door says."""
        with self.connect(door) as connection:
            connection.sendall(octets)
            return connection.recv(200)

    def is_serving(self) -> bool:
        with suppress(OSError):
            return self.ask("smtp").startswith(b"220 ")
        return False

    def children(self) -> set[int]:
        """The processes of this server besides the first, zombies apart."""
        assert self.process
        found = set()
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                state, _parent, _group, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.process.pid and state not in "ZX":
                    found.add(int(entry.name))
        return found - {self.process.pid}

    def end(self) -> None:
        if self.process:
            for number in (*self.children(), self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            self.process.wait(10)

    def arrived(self) -> list[bytes]:
        return [file.read_bytes() for file in (self.directory / "mail" / "new").glob("*")]


@pytest.fixture
def server(filled: tuple[Path, str]) -> Iterator[Server]:
    # pytest's own directories are too deep for a UNIX socket's path.
    directory = Path(tempfile.mkdtemp(prefix="anonmail-"))
    made = Server(directory, filled[0])
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(directory)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_all_doors_answer_and_sigterm_ends_them(
    server: Server, filled: tuple[Path, str], processes: str
) -> None:
    alias = filled[1].encode()
    for name in DOORS:
        # What a server that was killed leaves behind.
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(server.directory / name))

    process = server.start(MAIL_PROCESSES=processes)

    for name in DOORS:
        assert stat.S_IMODE((server.directory / name).stat().st_mode) == 0o660
    # A server that forks needs a moment: every process reads our domains for itself.
    question = b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=%b\n\n"
    for _ in range(4):
        assert server.ask("lmtp").startswith(b"220 mx.example.com")
        assert server.ask("policy", question % alias) == b"action=DUNNO\n\n"
        unknown = server.ask("policy", question % b"nobody@example.com")
        assert unknown == b"action=550 5.1.1 User unknown\n\n"
        assert server.ask("socketmap", b"19:domains example.com,") == b"14:OK example.com,"
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
        client.sendmail("bob@sender.test", [filled[1]], MESSAGE)
    (copy,) = server.arrived()
    assert copy.endswith(MESSAGE)
    process.terminate()
    assert process.wait(8) == 0
    assert is_soon(lambda: not server.children(), 3)
    assert "Traceback" not in server.log()


def test_a_start_that_cannot_be_is_one_sentence(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        attempts = [
            ({"MAIL_LISTEN": place}, "Address already in use"),
            ({"MAIL_LISTEN": "", "MAIL_LMTP_LISTEN": f"unix:/tmp/{'x' * 120}"}, "at most 107 octets"),
            ({"MAIL_TLS_CERTIFICATE": "/nowhere"}, "cannot start"),
        ]
        for options, reason in attempts:
            ended = manage({**server.environment, **options}, "mailserver")

            assert ended.returncode == 1
            assert reason in ended.stderr
            assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_a_socket_that_is_served_is_not_taken_over(server: Server) -> None:
    server.start()

    second = manage({**server.environment, "MAIL_LISTEN": ""}, "mailserver")

    assert second.returncode == 1
    assert "Address already in use" in second.stderr
    assert server.ask("lmtp").startswith(b"220 ")


class SlowHop:
    """A next hop that takes a message when it is told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        connection, _address = self.listener.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.write(b"220 hop.test\r\n")
            stream.flush()
            for line in stream:
                answer = b"250 ok\r\n"
                if line.upper().startswith(b"DATA"):
                    answer = b"354 go on\r\n"
                elif line == b".\r\n":
                    self.has_begun.set()
                    self.may_end.wait(20)
                elif not line.upper().startswith((b"EHLO", b"MAIL", b"RCPT", b"QUIT", b"RSET")):
                    continue
                stream.write(answer)
                stream.flush()

    def close(self) -> None:
        self.may_end.set()
        self.listener.close()
        self.thread.join(5)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_message_underway_is_finished_before_the_end(
    server: Server, filled: tuple[Path, str], processes: str
) -> None:
    hop = SlowHop()
    process = server.start(MAIL_NEXT_HOP=f"smtp://127.0.0.1:{hop.port}", MAIL_PROCESSES=processes)
    with (
        server.connect("lmtp") as idle,
        smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client,
    ):
        assert idle.recv(100).startswith(b"220 ")
        client.ehlo()
        client.mail("bob@sender.test")
        assert client.rcpt(filled[1])[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(MESSAGE + b".\r\n")
        assert hop.has_begun.wait(10)

        process.terminate()
        # Who waits is sent away; who is being served is not.
        assert idle.recv(100) == b""
        hop.may_end.set()

        assert client.getreply()[0] == 250
        client.close()
    assert process.wait(8) == 0
    hop.close()
    assert "Traceback" not in server.log()


def test_a_process_that_dies_is_replaced_and_none_outlives_the_parent(server: Server) -> None:
    process = server.start(MAIL_PROCESSES="2")
    assert is_soon(lambda: len(server.children()) == 2)
    before = server.children()
    killed = before.pop()

    os.kill(killed, signal.SIGKILL)

    # The killed one may be seen for a moment still, until its parent has noticed.
    assert is_soon(lambda: len(server.children() - {killed}) == 2)
    assert before < server.children() - {killed}
    assert all(server.is_serving() for _ in range(6))
    # At any moment, that of a child's birth included.
    os.kill(before.pop(), signal.SIGKILL)
    time.sleep(0.25)
    process.kill()
    process.wait(5)
    assert is_soon(lambda: not server.children(), 8)
    assert not server.is_serving()


def resident(process: int) -> int:
    """Octets of memory that the process has had at most, of its own."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def test_endless_data_is_not_kept(server: Server, filled: tuple[Path, str]) -> None:
    limit = 1_000_000
    process = server.start(MAIL_SIZE_LIMIT=str(limit))
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
        client.sendmail("bob@sender.test", [filled[1]], MESSAGE + b"x" * 900_000)
    before = resident(process.pid)
    pieces = {
        "one line": b"x" * 1_000_000,
        "lines": b"xxxxxxxx\r\n" * 100_000,
        "dots": b"..\r\n" * 250_000,
        "zeros": b"\0" * 1_000_000,
    }
    for piece in pieces.values():
        with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
            client.ehlo()
            client.mail("bob@sender.test")
            client.rcpt(filled[1])
            client.docmd("DATA")
            sent = 0
            with suppress(ConnectionError, smtplib.SMTPServerDisconnected):
                while sent < 300_000_000:
                    client.send(piece)
                    sent += len(piece)
            client.close()
            # It hung up long before.
            assert sent < 30_000_000
    # Endless commands are read to their end, for as long as a command may take.
    with server.connect("smtp") as connection, suppress(ConnectionError):
        for _ in range(100):
            connection.sendall(b"x" * 1_000_000)

    assert server.is_serving()
    assert resident(process.pid) - before < 8 * limit
    assert "Traceback" not in server.log()


def test_many_messages_at_the_limit_leave_no_memory_behind(server: Server, filled: tuple[Path, str]) -> None:
    process = server.start(MAIL_SIZE_LIMIT="3000000")
    content = MESSAGE + b"..\r\n" * 600_000

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
            client.ehlo()
            client.mail("bob@sender.test")
            client.rcpt(filled[1])
            client.docmd("DATA")
            client.send(content + b".\r\n")
            assert client.getreply()[0] == 250

    for _ in range(3):
        send()
    before = resident(process.pid)
    for _ in range(12):
        send()

    # Threads and their heaps come one by one; a message kept each time would be four times as much.
    assert resident(process.pid) - before < 9_000_000
    assert len(server.arrived()) == 15
