"""A filled PostgreSQL with a streaming standby, of which either can be killed and one promoted."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.rig.faults import ROOT, Database, environment, filled, manage
from tests.rig.postgresql import Server, server

NAME = "anonmail"
_KEY = """
from accounts.models import User
from tokens.models import Token
user = User.objects.get()
print(f"{user.email}:{Token.objects.issue(owner=user, name='app')[1]}")
"""


@dataclass(frozen=True)
class Original:
    """The files of a filled cluster whose server has stopped, and what is in it."""

    server: Server
    password: str
    aliases: dict[str, list[str]]
    api_key: str

    def copy(self, directory: Path) -> Server:
        """A server, not started yet, that has these files in that directory."""
        _give(directory, self.server)
        subprocess.run(["cp", "-a", self.server.directory / "data", directory / "data"], check=True)
        return self._server_in(directory)

    def _server_in(self, directory: Path) -> Server:
        made = Server(directory, self.server.binaries, self.server.run | {"cwd": directory}, self.password)
        # Commits wait for what the setting says: for their standby, where there is a synchronous one.
        made.options |= {"max_connections": "200", "fsync": "off", "wal_keep_size": "256MB"}
        return made

    def standby_of(self, primary: Server, directory: Path) -> Server:
        """A streaming standby of the primary, which runs, in that directory; not started yet."""
        _give(directory, self.server)
        source = f"{primary.url}?application_name=standby"
        command = [self.server.binaries / "pg_basebackup", "-d", source, "-D", directory / "data"]
        subprocess.run([*command, "-R", "-X", "stream", "-c", "fast"], check=True, **primary.run)
        return self._server_in(directory)


def _give(directory: Path, like: Server) -> None:
    directory.mkdir(exist_ok=True)
    if "user" in like.run:
        os.chown(directory, like.run["user"], like.run["group"])


@contextmanager
def original(root: Path = ROOT) -> Iterator[Original]:
    """A filled cluster, to be copied while the block runs.

    `root`: the project's files, which may be another revision's. Raises tests.rig.postgresql.Missing.
    """
    with server() as running, tempfile.TemporaryDirectory(prefix="anonmail-availability-") as place:
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {NAME}")  # type: ignore[arg-type]
        env = environment(_database(running.url), Path(place))
        aliases = filled(env, root)
        key = manage(env, "shell", "--no-imports", "--command", _KEY, root=root).strip()
        running.stop()
        yield Original(running, running.url.partition("anonmail:")[2].partition("@")[0], aliases, key)


def _database(url: str) -> str:
    return f"{url.rpartition('/')[0]}/{NAME}"


class Pair:
    """A primary and its standby, at ports of their own."""

    def __init__(self, made_from: Original, directory: Path) -> None:
        self.aliases, self.api_key = made_from.aliases, made_from.api_key
        self._original = made_from
        directory.chmod(0o755)
        self.primary = made_from.copy(directory / "primary")
        self._standby_directory = directory / "standby"
        self.standby: Server | None = None

    @property
    def servers(self) -> list[Server]:
        return [each for each in (self.primary, self.standby) if each is not None]

    def start(self, *, with_standby: bool = True, is_synchronous: bool = False) -> None:
        """Start both. Synchronous: no commit is acknowledged before the standby has it."""
        self.primary.start()
        if not with_standby:
            return
        self.standby = self._original.standby_of(self.primary, self._standby_directory)
        self.standby.start()
        if is_synchronous:
            self.database(self.primary).run(
                "ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()"
            )

    def promote(self) -> None:
        """Make the standby a primary."""
        assert self.standby is not None
        command = [self.standby.binaries / "pg_ctl", "promote", "-w", "-D", self.standby.directory / "data"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self.standby.run)

    def url(self, *ports: int, **parameters: str) -> str:
        """A DATABASE_URL of both servers, or of what listens at these ports instead."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports or [each.port for each in self.servers])
        asked = "&".join(f"{name}={value}" for name, value in parameters.items())
        password = self._original.password
        return f"postgres://anonmail:{password}@{hosts}/{NAME}?{asked}".rstrip("?")

    @property
    def password(self) -> str:
        return self._original.password

    def database(self, which: Server) -> Database:
        """What is in one of them."""
        return Database(which, _database(which.url), self.aliases)

    def addresses(self, which: Server) -> set[str]:
        """The aliases in one of them."""
        with psycopg.connect(_database(which.url)) as connection:
            return {address for (address,) in connection.execute("SELECT address FROM aliases_alias")}

    def stop(self) -> None:
        for each in self.servers:
            each.stop()


@contextmanager
def pair(made_from: Original) -> Iterator[Pair]:
    """A pair that nobody has started yet, until the block ends."""
    directory = Path(tempfile.mkdtemp(prefix="anonmail-pair-"))
    made = Pair(made_from, directory)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory, ignore_errors=True)
