"""Where the mail server listens, as the MAIL_…LISTEN settings say."""

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

# sockaddr_un.sun_path has 108 octets, the last one 0 (unix(7)).
UNIX_PATH_MAX = 107
BACKLOG = 512


@dataclass(frozen=True)
class Endpoint:
    """A TCP address, or the path of a UNIX socket (then `port` is 0)."""

    host: str
    port: int
    path: Path | None = None

    @property
    def address(self) -> str | tuple[str, int]:
        """As the socket module takes it."""
        return str(self.path) if self.path else (self.host, self.port)

    def new_socket(self) -> socket.socket:
        """A socket of its address family."""
        inet = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        return socket.socket(socket.AF_UNIX if self.path else inet)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint(text: str) -> Endpoint:
    """The endpoint in `127.0.0.1:2525`, `[::1]:2525` or `unix:/path`. Raises ValueError."""
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ValueError("Write a UNIX socket with its absolute path, as unix:/run/anonmail/lmtp.")
        return Endpoint("", 0, path)
    host, _colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError("Write an address and a port, as 127.0.0.1:2525, or unix:/path.")
    return Endpoint(host, int(port))


# The setting of each door; an empty one closes the door.
DOORS = {
    "smtp": "MAIL_LISTEN",
    "lmtp": "MAIL_LMTP_LISTEN",
    "policy": "MAIL_POLICY_LISTEN",
    "socketmap": "MAIL_SOCKETMAP_LISTEN",
    "milter": "MAIL_MILTER_LISTEN",
    "submission": "MAIL_SUBMISSION_LISTEN",
    "submission_tls": "MAIL_SUBMISSION_TLS_LISTEN",
}


def endpoints() -> dict[str, Endpoint]:
    """The endpoint of each door that is open. Raises ValueError, which names the setting."""
    found = {}
    for door, name in DOORS.items():
        if text := getattr(settings, name):
            try:
                found[door] = endpoint(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    return found


def listening_socket(place: Endpoint) -> socket.socket:
    """A socket that listens there; a UNIX socket that is no longer served is replaced. Raises OSError, whose
    text says what is wrong."""
    if place.path:
        if len(str(place.path).encode()) > UNIX_PATH_MAX:
            raise OSError(f"The path of a UNIX socket has at most {UNIX_PATH_MAX} octets: {place.path}")
        place.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _remove_stale(place.path)
    listener = place.new_socket()
    try:
        if not place.path:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place.address)
        if place.path:
            place.path.chmod(settings.MAIL_SOCKET_MODE)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(f"{place}: {error.strerror}") from error
    return listener


def _remove_stale(path: Path) -> None:
    if path.is_symlink() or not path.is_socket():
        return
    try:
        # A server that is too busy to answer still counts.
        connect(Endpoint("", 0, path), 1).close()
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError:
        return


def connect(place: Endpoint, timeout: float) -> socket.socket:
    """A connection to a door. Raises OSError."""
    connection = place.new_socket()
    connection.settimeout(timeout)
    try:
        connection.connect(place.address)
    except OSError:
        connection.close()
        raise
    return connection


async def stop_accepting(servers: Iterable[asyncio.Server]) -> None:
    """Take no more connections at these; each that was taken has its protocol by the return.

    `asyncio.Server.close` alone forgets, without closing them, those that were accepted in the same moment.
    """
    loop = asyncio.get_running_loop()
    for server in servers:
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())
    # Two rounds of the loop: the transport of what is accepted is made, then its protocol is told.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for server in servers:
        server.close()
