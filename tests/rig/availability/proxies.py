"""HAProxy and PgBouncer with the configuration in `deploy/`, at free ports."""

import csv
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.rig.ports import free_port
from tests.rig.postgresql import Missing

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
# Seconds for which a program may take to start.
START_TIMEOUT = 20


def _program(name: str) -> str:
    """Its path. Raises Missing."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        raise Missing(f"{name} is not installed (Debian: apt install {name})")
    return found


def haproxy_configuration(directory: Path, port: int, web: Sequence[int], probe: str = "") -> str:
    """deploy/haproxy.cfg for web hosts at these ports of this machine, served over plain http.

    Its socket is in the directory. `probe`: what it asks them, if not what the file says.
    """
    text = (DEPLOY / "haproxy.cfg").read_text()
    text = re.sub(r"\n    bind :80\n    bind :443 .*", f"\n    bind 127.0.0.1:{port}", text)
    text = re.sub(r"\n    http-request redirect .*", "", text)
    servers = "".join(f"    server web{n} 127.0.0.1:{each}\n" for n, each in enumerate(web, start=1))
    text = re.sub(r"(    server .*\n)+", servers, text)
    text = text.replace("/run/haproxy", str(directory))
    if probe:
        text = text.replace("/health/ready", probe).replace("/health/live", probe)
    return text.replace("mail.example.com", "localhost")


@contextmanager
def haproxy(directory: Path, web: Sequence[int], probe: str = "") -> Iterator[int]:
    """The port at which HAProxy serves these web hosts while the block runs. Raises Missing.

    `probe`: what it asks them, if not what deploy/haproxy.cfg says.
    """
    program = _program("haproxy")
    port = free_port()
    configuration = directory / "haproxy.cfg"
    configuration.write_text(haproxy_configuration(directory, port, web, probe))
    with _running([program, "-db", "-f", str(configuration)], directory / "haproxy.log", port):
        yield port


def tell_haproxy(directory: Path, web: int, state: str) -> None:
    """Give the web host of this number that state: `drain` takes it out, `ready` puts it back."""
    for backend in ("anonmail", "anonmail_alive"):
        assert not _asked(directory, f"set server {backend}/web{web} state {state}").strip()


def state(directory: Path, web: int) -> str:
    """What HAProxy takes the web host of this number for: UP, NOLB (it gets nothing new) or DOWN."""
    head, *lines = _asked(directory, "show stat").removeprefix("# ").splitlines()
    rows = csv.DictReader([head, *lines])
    (found,) = (row for row in rows if (row["pxname"], row["svname"]) == ("anonmail", f"web{web}"))
    return found["status"]


def _asked(directory: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(directory / "admin.sock"))
        admin.sendall(f"{command}\n".encode())
        with admin.makefile() as answer:
            return answer.read()


@contextmanager
def pgbouncer(
    directory: Path, server: int, user: str, password: str, pool_size: int, port: int | None = None
) -> Iterator[int]:
    """The port, or a free one, at which PgBouncer in transaction mode leads to the server's at that port
    while the block runs. Raises Missing."""
    program = _program("pgbouncer")
    port = port or free_port()
    directory.mkdir(exist_ok=True)
    values = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "auth_file": str(directory / "userlist.txt"),
        "default_pool_size": str(pool_size),
    }
    text = (DEPLOY / "pgbouncer.ini").read_text().replace("port=5432", f"port={server}")
    for name, value in values.items():
        text, changes = re.subn(rf"(?m)^{name} = .*", f"{name} = {value}", text)
        assert changes == 1, name
    (directory / "pgbouncer.ini").write_text(text + "unix_socket_dir =\n")
    (directory / "userlist.txt").write_text(f'"{user}" "{password}"\n')
    command = [program, str(directory / "pgbouncer.ini")]
    with _running(command, directory / "pgbouncer.log", port, **_unprivileged()):
        yield port


def _unprivileged() -> dict[str, Any]:
    """PgBouncer refuses to be root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextmanager
def _running(command: list[str], log: Path, port: int, **how: Any) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **how
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    """Whether something on this machine listens at the port. Asked of the kernel."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(
        words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port for words in map(str.split, lines)
    )
