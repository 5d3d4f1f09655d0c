"""What the fault tests stand on: a mail server that is a process, and senders that try again."""

import os
import secrets
import shutil
import signal
import smtplib
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.rig import mta
from tests.rig.mta import Ports, Postfix, Sink
from tests.rig.postgresql import Server, server

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 30
# The cast: aliases with one destination each, but the last, which has two.
ALIASES = 10
DOORS = (
    "MAIL_LISTEN",
    "MAIL_LMTP_LISTEN",
    "MAIL_POLICY_LISTEN",
    "MAIL_SOCKETMAP_LISTEN",
    "MAIL_MILTER_LISTEN",
    "MAIL_SUBMISSION_LISTEN",
)

FORWARDS = "SELECT address, forwards FROM aliases_alias"
_FILL = f"""
from allauth.account.models import EmailAddress
from django.conf import settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import AliasPreferences
from domains.models import Domain
Domain.objects.create(name="example.com", anonmail_enabled=True)
owner = User.objects.create_user("alice@example.com")
AliasPreferences.objects.create(user=owner, hides_replies=False)
for number in range({ALIASES}):
    destinations = [f"one{{number}}@home.test"] + (["two@home.test"] if number == {ALIASES} - 1 else [])
    for email in destinations:
        EmailAddress.objects.create(user=owner, email=email, verified=True)
    print(issue(owner=owner, destinations=destinations).address, *destinations)
"""


def environment(url: str, directory: Path, **more: str) -> dict[str, str]:
    """The environment of a `manage.py`: no setting of the caller's own gets in."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
        "ENV_FILE": "",
        "SECRET_KEY": secrets.token_hex(32),
        "VAR_DIR": str(directory),
        "DATABASE_URL": url,
        "LOG_LEVEL": "WARNING",
        **more,
    }


@dataclass
class Database:
    """A filled database of PostgreSQL's, and its server, which a test may stop."""

    server: Server
    url: str
    # The destinations of each alias
    aliases: dict[str, list[str]]

    kind = "postgresql"

    def counters(self, query: str = FORWARDS) -> dict[str, int]:
        """What is written: the forwards of each alias, or what this query finds instead."""
        with psycopg.connect(self.url) as connection:
            return dict(connection.execute(query).fetchall())  # type: ignore[arg-type]

    def run(self, *statements: str) -> None:
        """Run SQL, a transaction each, that may change things whatever the database's default is."""
        options = "-c default_transaction_read_only=off"
        with psycopg.connect(self.url, autocommit=True, options=options) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    @contextmanager
    def takes_no_changes(self) -> Iterator[None]:
        """The database as a replica is, or a primary that is being replaced."""
        name = self.url.rpartition("/")[2]
        others = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"  # noqa: E501, S608
        self.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on", others)
        try:
            yield
        finally:
            self.run(f"ALTER DATABASE {name} RESET default_transaction_read_only", others)

    def move_to(self, disk: Path) -> None:
        """Keep its files on that file system from now on."""
        place = disk / "tablespace"
        place.mkdir(mode=0o700)
        if "user" in self.server.run:
            disk.chmod(0o755)
            os.chown(place, self.server.run["user"], self.server.run["group"])
        name = self.url.rpartition("/")[2]
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small{name} LOCATION '{place}'")  # type: ignore[arg-type]
            connection.execute(f"ALTER DATABASE {name} SET TABLESPACE small{name}")  # type: ignore[arg-type]

    def leave(self) -> None:
        """End, so that the file system it was moved to can go."""
        name = self.url.rpartition("/")[2]
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]
            connection.execute(f"DROP TABLESPACE small{name}")  # type: ignore[arg-type]


@dataclass
class File:
    """A filled SQLite database."""

    path: Path
    aliases: dict[str, list[str]]

    kind = "sqlite"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def counters(self) -> dict[str, int]:
        """The forwards of each alias, as they are written."""
        with closing(sqlite3.connect(self.path)) as connection:
            return dict(connection.execute(FORWARDS).fetchall())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another process writes, and does not end."""
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=60)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """No octet is free on the file system."""
    ballast = disk / "ballast"
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    size = 1 << 20
    while size >= 512:
        try:
            os.write(descriptor, b"x" * size)
        except OSError:
            size //= 2
    os.close(descriptor)
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def filled_cluster() -> Iterator[Callable[[], Database]]:
    """Makes a new copy of a filled database at each call. Raises tests.rig.postgresql.Missing."""
    with server() as running, tempfile.TemporaryDirectory(prefix="anonmail-faults-") as directory:
        base = running.url.rpartition("/")[0]
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE filled")
        aliases = filled(environment(f"{base}/filled", Path(directory)))

        def copy() -> Database:
            name = f"copy{secrets.token_hex(4)}"
            with psycopg.connect(running.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name} TEMPLATE filled")  # type: ignore[arg-type]
            return Database(running, f"{base}/{name}", aliases)

        yield copy


@contextmanager
def filled_file() -> Iterator[Callable[[Path], File]]:
    """Makes a new copy of a filled SQLite database in the directory that it is given."""
    with tempfile.TemporaryDirectory(prefix="anonmail-faults-") as directory:
        original = Path(directory) / "filled.sqlite3"
        aliases = filled(environment(f"sqlite:///{original}", Path(directory)))

        def copy(place: Path) -> File:
            return File(Path(shutil.copy(original, place / "anonmail.sqlite3")), aliases)

        yield copy


def filled(env: Mapping[str, str], root: Path = ROOT) -> dict[str, list[str]]:
    """The aliases, each with its destinations, that are in the database now."""
    manage(env, "migrate", "--verbosity=0", root=root)
    made = manage(env, "shell", "--no-imports", "--command", _FILL, root=root)
    rows = [line.split() for line in made.splitlines() if line]
    aliases = {address: destinations for address, *destinations in rows}
    assert len(aliases) == ALIASES, rows
    return aliases


# Correspondents of each alias. Not more than 60 replies an hour go to one.
CORRESPONDENTS = 5
_MEET = f"""
from aliases.models import Alias
from tests.rig.correspondents import contacts_for
for alias in Alias.objects.order_by("pk"):
    names = [f"friend{{number}}.{{alias.pk}}@far.test" for number in range({CORRESPONDENTS})]
    for contact in contacts_for(alias.pk, [(name, None) for name in names]).values():
        print(contact.reverse_address, contact.address)
"""


def with_contacts(database: Database) -> dict[str, list[str]]:
    """Make contacts of the aliases; for each reverse address, who is behind it."""
    with tempfile.TemporaryDirectory(prefix="anonmail-faults-") as directory:
        env = environment(database.url, Path(directory), CONTACTS_PER_DAY="1000")
        made = manage(env, "shell", "--no-imports", "--command", _MEET)
    return {reverse: [address] for reverse, address in map(str.split, made.splitlines())}


def manage(env: Mapping[str, str], *words: str, root: Path = ROOT) -> str:
    """What `manage.py` prints with these arguments."""
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, cwd=root, env=env, check=True, text=True, stdout=subprocess.PIPE).stdout


class MailServer:
    """`manage.py mailserver` as a process of its own."""

    def __init__(self, env: Mapping[str, str], log: Path, root: Path = ROOT) -> None:
        """`root`: the project's files, which may be another revision's."""
        self.env, self.log, self.root = dict(env), log, root
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def doors(self) -> set[str]:
        """The ports and the paths at which it listens."""
        places = [self.env.get(name, "") for name in DOORS]
        return {place.rpartition(":")[2] for place in places if place}

    def start(self) -> None:
        """Start it, again and again as systemd would, until its doors are open."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self._is_running() or not self._is_listening():
            assert time.monotonic() < deadline, f"the mail server did not start:\n{self.log.read_text()}"
            if not self._is_running():
                with self.log.open("ab") as log:
                    self.process = subprocess.Popen(
                        [sys.executable, "manage.py", "mailserver"],
                        cwd=self.root,
                        env=self.env,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
            time.sleep(0.05)

    def _is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _is_listening(self) -> bool:
        # Asked of the kernel: a connection of ours would be one that the server has to end.
        listening = {
            str(int(words[1].rpartition(":")[2], 16))
            for words in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
            if words[3] == "0A"
        }
        # Connections to the socket have its path too, and other flags (__SO_ACCEPTCON).
        listening |= {
            words[-1]
            for words in map(str.split, Path("/proc/net/unix").read_text().splitlines()[1:])
            if words[3] == "00010000"
        }
        return listening >= self.doors

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def children(self) -> list[int]:
        """The processes that it has made."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def kill(self) -> None:
        """End all of it in an instant."""
        assert self.process is not None
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Let it hang."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Stop it as an operator does."""
        if self._is_running() and self.process is not None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


class FarEnd:
    """The sink at its port, which a test may shut and open."""

    def __init__(self, sink: Sink, port: int) -> None:
        self.sink, self.port = sink, port
        self._stack = ExitStack()

    def open(self) -> None:
        self._stack.enter_context(mta.far_end(self.sink, self.port))

    def shut(self) -> None:
        self._stack.close()


@dataclass
class Rig:
    """Everything running, with the ways to break it."""

    design: str
    postfix: Postfix
    ports: Ports
    database: Database | File
    mail: MailServer
    far: FarEnd

    @property
    def sink(self) -> Sink:
        return self.far.sink

    @contextmanager
    def another_mail_server(self, *doors: str) -> Iterator[MailServer]:
        """One more, which has these doors alone."""
        own = {name: str(self.ports.settings()[name]) if name in doors else "" for name in DOORS}
        another = MailServer(self.mail.env | own, self.mail.log)
        try:
            another.start()
            yield another
        finally:
            another.end()


@contextmanager
def running(
    design: str, postfix: Postfix, ports: Ports, database: Database | File, **more: str
) -> Iterator[Rig]:
    """The mail server and the far end beside that Postfix; `more` are settings that win."""
    with tempfile.TemporaryDirectory(prefix="anonmail-faults-") as name:
        directory = Path(name)
        settings = {key: str(value) for key, value in ports.settings().items()} | more
        # Other tests' domains stay in the table of this Postfix.
        settings["MAIL_POSTFIX_DIRECTORY"] = ""
        settings.setdefault("MAIL_QUESTIONS_APART", "yes")
        mail = MailServer(environment(database.url, directory, **settings), directory / "log")
        far = FarEnd(Sink(), ports.sink)
        try:
            # A test that fails after it has killed Postfix takes no other one with it.
            postfix.start()
            far.open()
            mail.start()
            yield Rig(design, postfix, ports, database, mail, far)
        finally:
            mail.end()
            far.shut()
            postfix.empty()


def rcpt(port: int, recipient: str) -> tuple[int, float]:
    """What Postfix answers to the recipient, and the seconds that it took."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="sender.test", timeout=60) as client:
        client.ehlo()
        client.mail("probe@sender.test")
        began = time.monotonic()
        code, _words = client.rcpt(recipient)
        return code, time.monotonic() - began


def report(row: Mapping[str, object]) -> None:
    """Print a row of the fault table; into the file FAULT_TABLE too, where that is set."""
    line = " | ".join(f"{name} {value}" for name, value in row.items())
    print(line)
    if path := os.environ.get("FAULT_TABLE"):
        with Path(path).open("a") as table:
            table.write(line + "\n")


class FullDisk(Exception):
    """A small file system cannot be made here."""


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """The path of a file system of that size. Raises FullDisk where mounting is not permitted."""
    directory = Path(tempfile.mkdtemp(prefix="anonmail-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)]
    try:
        try:
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
        except OSError as error:
            raise FullDisk(f"mount cannot be run: {error.strerror}") from error
        if done.returncode:
            raise FullDisk(f"permission to mount a tmpfs ({done.stderr.strip()})")
        try:
            yield directory
        finally:
            subprocess.run(["umount", str(directory)], check=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
