import asyncio
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.listening import Endpoint, connect, listening_socket
from mail.server.listening import stop_accepting


class _Greeting(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport


async def connect_and_stop(rounds: int) -> tuple[list[_Greeting], socket.socket]:
    """Stop in that round of the loop after a connection; who was accepted, and the client."""
    made: list[_Greeting] = []

    def greet() -> _Greeting:
        made.append(_Greeting())
        return made[-1]

    server = await asyncio.get_running_loop().create_server(greet, "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname(), timeout=5)
    for _ in range(rounds):
        await asyncio.sleep(0)
    await stop_accepting([server])
    for each in made:
        assert each.transport is not None
        each.transport.abort()
    return made, client


def test_who_is_accepted_in_the_moment_of_the_stop_is_not_forgotten() -> None:
    accepted = []

    def run() -> None:
        # In a thread of its own: a browser test's loop may own this one.
        for rounds in range(6):
            made, client = asyncio.run(connect_and_stop(rounds))
            accepted.append(len(made))
            # Reset by the listener or by the transport, but not left open.
            with client:
                try:
                    assert client.recv(1) == b""
                except ConnectionResetError:
                    continue

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)

    assert accepted[0] == 0
    assert accepted[2:] == [1, 1, 1, 1]


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a UNIX socket's."""
    made = Path(tempfile.mkdtemp(prefix="anonmail-"))
    yield made
    shutil.rmtree(made)


def test_a_unix_socket_is_for_the_group_of_its_directory(short: Path) -> None:
    short.chmod(0o2750)
    if os.geteuid() == 0:
        shutil.chown(short, group="nogroup")
    door = Endpoint("", 0, short / "lmtp")

    with listening_socket(door):
        status = (short / "lmtp").stat()

    assert stat.S_IMODE(status.st_mode) == 0o660
    assert status.st_gid == short.stat().st_gid


def test_a_directory_that_is_missing_is_made_for_us_and_our_group(short: Path) -> None:
    with listening_socket(Endpoint("", 0, short / "sockets" / "lmtp")):
        assert stat.S_IMODE((short / "sockets").stat().st_mode) == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_of_the_machine_cannot_connect(short: Path) -> None:
    short.chmod(0o2755)
    door = Endpoint("", 0, short / "policy")
    attempt = f"import socket; socket.socket(socket.AF_UNIX).connect({str(door.path)!r})"

    with listening_socket(door):
        answers = [
            subprocess.run(
                ["/usr/bin/python3", "-c", attempt],
                user="nobody",
                group=group,
                extra_groups=[],
                capture_output=True,
            ).returncode
            for group in ("nogroup", short.group())
        ]

    assert answers == [1, 0]


def test_the_socket_of_a_server_that_was_killed_is_replaced(short: Path) -> None:
    door = Endpoint("", 0, short / "policy")
    killed = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
            "print('bound', flush=True); time.sleep(60)",
            str(door.path),
        ],
        stdout=subprocess.PIPE,
    )
    with killed:
        assert killed.stdout
        killed.stdout.readline()
        with pytest.raises(OSError, match="Address already in use"):
            listening_socket(door)
        killed.kill()

    with listening_socket(door):
        connect(door, 5).close()


def test_a_file_in_a_sockets_place_stays(short: Path) -> None:
    (short / "lmtp").write_text("somebody's")

    with pytest.raises(OSError, match="Address already in use"):
        listening_socket(Endpoint("", 0, short / "lmtp"))

    assert (short / "lmtp").read_text() == "somebody's"
