"""A real `manage.py mailserver` over a SQLite file, with all its doors and a Maildir."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.rig.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
FILL = """
from accounts.models import User
from aliases.issuing import issue
from allauth.account.models import EmailAddress
from domains.models import Domain
Domain.objects.create(name="example.com", anonmail_enabled=True)
alice = User.objects.create_user("alice@example.com")
EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
print(issue(owner=alice, destinations=["alice@home.test"]).address)
"""
DOORS = {"lmtp": "MAIL_LMTP_LISTEN", "policy": "MAIL_POLICY_LISTEN", "socketmap": "MAIL_SOCKETMAP_LISTEN"}


def is_soon(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=300
    )


def filled_database(directory: Path, url: str = "") -> tuple[Path, str]:
    """A database file in the directory with an alias of alice's, and the alias; that database instead, if a
    DATABASE_URL is given."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
        "ENV_FILE": "",
        "SECRET_KEY": "x" * 50,
        "VAR_DIR": str(directory),
    }
    environment.pop("DATABASE_URL", None)
    if url:
        environment["DATABASE_URL"] = url
    assert manage(environment, "migrate", "-v0").returncode == 0
    made = manage(environment, "shell", "-v0", "-c", FILL)
    assert made.returncode == 0, made.stderr
    return directory / "anonmail.sqlite3", made.stdout.split()[-1]


class Server:
    """A mail server with a database of its own, all its doors, and a Maildir."""

    def __init__(self, directory: Path, database: Path | str) -> None:
        """`database`: a SQLite file, of which it gets a copy, or a DATABASE_URL."""
        self.directory = directory
        self.port, self.submission_port = free_port(), free_port()
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
            "ENV_FILE": "",
            "SECRET_KEY": secrets.token_hex(32),
            "VAR_DIR": str(directory),
            "MAIL_LISTEN": f"127.0.0.1:{self.port}",
            "MAIL_SUBMISSION_LISTEN": f"127.0.0.1:{self.submission_port}",
            "MAIL_HOSTNAME": "mx.example.com",
            **{setting: f"unix:{directory}/{name}" for name, setting in DOORS.items()},
        }
        if isinstance(database, Path):
            shutil.copy(database, directory / "anonmail.sqlite3")
        else:
            self.environment["DATABASE_URL"] = database
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

    def takes_connections(self, door: str) -> bool:
        """Whether anybody, or nobody, will accept them."""
        try:
            self.connect(door).close()
        except ConnectionRefusedError:
            return False
        return True

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
