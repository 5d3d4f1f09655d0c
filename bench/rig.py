"""What a measurement stands on: a database of its own, servers on free ports, and their end."""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psycopg

from tests.rig.ports import free_port
from tests.rig.postgresql import Missing, cluster

ROOT = Path(__file__).resolve().parent.parent
DATABASES = ("sqlite", "postgresql")
START_TIMEOUT = 60
STOP_TIMEOUT = 30
# Above what any run creates: the limits are counted, and never reached.
NO_LIMIT = "1000000000"
USERS = 200


@contextmanager
def databases(kind: str, directory: Path, *names: str) -> Iterator[dict[str, str]]:
    """The DATABASE_URL of a new database for each name: SQLite files, or a durable throw-away cluster's.

    Raises tests.rig.postgresql.Missing.
    """
    if kind == "sqlite":
        yield {name: f"sqlite:///{directory / name}.sqlite3" for name in names}
        return
    with cluster(durable=True) as url:
        server = url.rpartition("/")[0]
        with psycopg.connect(url, autocommit=True) as connection:
            for name in names:
                connection.execute(f'CREATE DATABASE "{name}"')
        yield {name: f"{server}/{name}" for name in names}


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory below TMPDIR that is gone after the block."""
    directory = Path(tempfile.mkdtemp(prefix="anonmail-bench-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def environment(directory: Path, url: str, **more: str) -> dict[str, str]:
    """The environment of a process under measurement: no setting of the caller's own gets in."""
    var = directory / "var"
    var.mkdir(mode=0o700, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
        "ENV_FILE": "",
        "SECRET_KEY": secrets.token_hex(32),
        "VAR_DIR": str(var),
        "DATABASE_URL": url,
        "ALIASES_PER_HOUR": NO_LIMIT,
        "ALIASES_PER_DAY": NO_LIMIT,
        "LOG_LEVEL": "WARNING",
        **more,
    }


def run(command: Sequence[str], env: dict[str, str], stdin: str = "", *, root: Path = ROOT) -> str:
    """Run a Python module of this project and return what it printed. Raises RuntimeError.

    `root`: the project's files, which may be another revision's.
    """
    # A session of its own: Ctrl-C reaches this process alone, which then ends the other.
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=root,
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, _none = process.communicate(stdin)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{output}")
    return output


@contextmanager
def gunicorn(application: str, env: dict[str, str], *, root: Path = ROOT) -> Iterator[int]:
    """The port at which the site's gunicorn configuration serves `application` during the block."""
    port = free_port()
    own = {"HOST": "127.0.0.1", "PORT": str(port), "WEB_WORKERS": "2"}
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "python:anonmail_site.gunicorn_conf", application],
        cwd=root,
        env={**env, **own},
        start_new_session=True,
    )
    try:
        wait_for(port, server)
        yield port
    finally:
        stop(server)


def wait_for(port: int, server: subprocess.Popen[Any]) -> None:
    """Wait until something listens there. Raises RuntimeError where the server ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server did not start")


def stop(server: subprocess.Popen[Any]) -> None:
    """End a server that leads a session of its own, and what it has started."""
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        # The group is this server and its workers: it leads a session of its own.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def filled(
    directory: Path, url: str, aliases: int, users: int, *more: str
) -> tuple[dict[str, str], list[str]]:
    """Prepare and fill a database as an installation's; its environment, and each user's API key.

    `more`: further arguments of bench.fill.
    """
    env = environment(directory, url)
    run(["manage.py", "prepare"], env)
    command = ["-m", "bench.fill", "--aliases", str(aliases), "--users", str(users), *more]
    keys = json.loads(run(command, env))
    return env, keys


def measured_here(kind: str, aliases: int, measure: Callable[[list[str]], None], *more: str) -> int:
    """The exit code, after `measure` was given each user's API key: a database is filled, and this process is
    the application.

    `more`: further arguments of bench.fill.
    """
    stop_on_signals()
    try:
        with temporary_directory() as directory, databases(kind, directory, "ours") as urls:
            env, keys = filled(directory, urls["ours"], aliases, USERS, *more)
            os.environ.update(env)
            try:
                measure(keys)
            finally:
                close_connections()
    except Missing as reason:
        print(f"SKIPPED: {kind}: {reason}")
        return 1 if os.environ.get("CI") == "true" else 0
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0


def print_for_each(only: str | None, told: Callable[[str], str]) -> int:
    """Print what `told` says of each kind of database, or of one alone; the exit code."""
    stop_on_signals()
    try:
        for kind in [only] if only else DATABASES:
            try:
                print(told(kind), flush=True)
            except Missing as reason:
                print(f"SKIPPED: {kind}: {reason}")
    except KeyboardInterrupt:
        return 130
    return 0


def close_connections() -> None:
    """End this process's connections, so that the database server can stop at once."""
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        connection.close()
        if connection.vendor == "postgresql":
            connection.close_pool()


def alone(path: Path) -> IO[str]:
    """The open file `path`, locked until it is closed. Raises BlockingIOError where another has it."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    return file


def stop_on_signals() -> None:
    """Make Ctrl-C and SIGTERM unwind the blocks above once; another one does not disturb the unwinding."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, interrupt)


def file_system(path: str) -> str:
    """The type of the file system that holds `path`; "" where the machine does not say."""
    mounts = Path("/proc/self/mounts")
    found = ("", "")
    for line in mounts.read_text().splitlines() if mounts.is_file() else []:
        _device, place, kind, *_rest = line.split()
        if Path(path).resolve().is_relative_to(place) and len(place) >= len(found[0]):
            found = (place, kind)
    return found[1]
