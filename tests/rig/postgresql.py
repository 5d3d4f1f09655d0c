"""A throw-away PostgreSQL: `python -m tests.rig.postgresql COMMAND …` runs a command with one.

The cluster lives in a temporary directory, listens on a free loopback port and is destroyed with the
command's end. Without PostgreSQL the command is skipped, by name; with CI=true that is a failure.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection

from tests.rig.ports import free_port

START_TIMEOUT = 60
# A test's data need not survive a crash.
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Missing(Exception):
    """PostgreSQL's server programs are not on this machine."""


def programs() -> Path:
    """The directory that holds initdb and postgres: of PATH, or Debian's newest. Raises Missing."""
    if (found := shutil.which("initdb")) and shutil.which("postgres"):
        return Path(found).resolve().parent
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "postgres").is_file()]
    if not versions:
        raise Missing("PostgreSQL is not installed (Debian: apt install postgresql)")
    return max(versions, key=lambda path: float(path.parent.name))


def _unprivileged() -> dict[str, Any]:
    """How to run the server, which refuses to be root: as the user postgres, or nobody."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    raise Missing("there is no user whom PostgreSQL could run as")


def run_as_owner(*statements: str) -> None:
    """Run SQL as the owner of this test's database, over a connection of its own."""
    with another_connection() as own:
        for statement in statements:
            own.execute(statement)


@contextmanager
def another_database() -> Iterator[str]:
    """The URL of an empty database on the server of this test's."""
    name = f"another_{secrets.token_hex(4)}"
    run_as_owner(f"CREATE DATABASE {name}")
    try:
        yield f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"
    finally:
        run_as_owner(f"DROP DATABASE {name} WITH (FORCE)")


def run_elsewhere(statement: str) -> list[tuple[Any, ...]]:
    """What a statement returns over a connection of its own."""
    with another_connection() as own:
        return own.execute(statement).fetchall()


def another_connection() -> "psycopg.Connection[tuple[Any, ...]]":
    """To this test's database; each statement is a transaction until one begins."""
    values = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    options = "-c default_transaction_read_only=off"
    given = {name: values[name] for name in names if name in values}
    return psycopg.connect(**given, options=options, autocommit=True)


class Server:
    """The server of a cluster, which a test may stop, start again, and let hang."""

    def __init__(self, directory: Path, binaries: Path, run: dict[str, Any], password: str) -> None:
        self.directory, self.binaries, self.run = directory, binaries, run
        self.port = free_port()
        self.url = f"postgres://anonmail:{password}@127.0.0.1:{self.port}/postgres"
        self.options: dict[str, str] = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(directory),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it at its port, and wait until it answers. Raises RuntimeError."""
        command: list[str | Path] = [self.binaries / "postgres", "-D", self.directory / "data"]
        for name, value in self.options.items():
            command += ["-c", f"{name}={value}"]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, **self.run
            )
        _wait(self.process, self.binaries, self.port, self.run, self.directory / "log")

    def stop(self) -> None:
        """Stop it as a restart does: connections end at once."""
        if self.process is not None:
            self.thaw()
            _stop(self.process)

    def freeze(self) -> None:
        """Let it hang: connections stay open, or can be opened, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End all of it in an instant, as a power failure does."""
        if self.process is None or self.process.poll() is not None:
            return
        children = self._children()
        # It would replace the others.
        self.process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.process.wait()

    def _children(self) -> list[int]:
        assert self.process is not None
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in listed.split()]

    def _signal(self, number: int) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        # The first one makes no more of the others, once it has been stopped.
        self.process.send_signal(number)
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, number)


@contextmanager
def server(*, durable: bool = False, max_connections: int = 200) -> Iterator[Server]:
    """A fresh cluster and its server, which runs while the block does. Raises Missing.

    `durable`: commits wait for the disk, as in an installation in earnest (for measuring).
    """
    binaries, who = programs(), _unprivileged()
    directory = Path(tempfile.mkdtemp(prefix="anonmail-postgresql-"))
    try:
        if who:
            os.chown(directory, who["user"], who["group"])
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        run: dict[str, Any] = {"cwd": directory, "env": environment, **who}
        password = secrets.token_hex(16)
        (directory / "password").write_text(password)
        (directory / "password").chmod(0o644)
        initdb = [binaries / "initdb", "-D", directory / "data", "-U", "anonmail", "-E", "UTF8"]
        initdb += ["--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={directory / 'password'}"]
        subprocess.run([*initdb, "--no-sync"], check=True, stdout=subprocess.DEVNULL, **run)
        made = Server(directory, binaries, run, password)
        made.options |= {"max_connections": str(max_connections), "shared_buffers": "256MB"}
        made.options |= {} if durable else NOT_DURABLE
        try:
            made.start()
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def cluster(*, durable: bool = False, max_connections: int = 200) -> Iterator[str]:
    """A fresh cluster's DATABASE_URL, while the block runs. Raises Missing."""
    with server(durable=durable, max_connections=max_connections) as made:
        yield made.url


def _wait(server: subprocess.Popen[bytes], binaries: Path, port: int, run: dict[str, Any], log: Path) -> None:
    ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and server.poll() is None:
        if subprocess.run(ready, check=False, **run).returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Fast shutdown (SIGINT), by process id; by force when that takes too long."""
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main(command: Sequence[str]) -> int:
    """Run the command with DATABASE_URL set and return its exit code."""
    if not command:
        print("Usage: python -m tests.rig.postgresql COMMAND …", file=sys.stderr)
        return 2
    try:
        with cluster() as url:
            print(f"PostgreSQL round: {' '.join(command)}", flush=True)
            return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode
    except Missing as reason:
        print(f"SKIPPED: the PostgreSQL round: {reason}")
        return 1 if os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says that Ctrl-C ended it; the cluster is gone by now
