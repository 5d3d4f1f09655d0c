"""Where a server listens (TCP or a UNIX socket), its sockets, and those that it is given."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

# sockaddr_un.sun_path has 108 octets, the last one 0 (unix(7)).
UNIX_PATH_MAX = 107
BACKLOG = 512
# The owner and group of a UNIX socket can connect to it.
SOCKET_MODE = 0o660
# The first file descriptor that a process is given (sd_listen_fds(3)).
FIRST_GIVEN = 3


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
            place.path.chmod(SOCKET_MODE)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(f"{place}: {error.strerror}") from error
    return listener


def given_sockets() -> list[tuple[str, socket.socket]]:
    """The listening sockets that systemd or our supervisor has given to this process, each with its name
    (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found = []
    for position in range(int(os.environ["LISTEN_FDS"])):
        listener = socket.socket(fileno=FIRST_GIVEN + position)
        listener.setblocking(False)
        found.append((names[position] if position < len(names) else "", listener))
    return found


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
