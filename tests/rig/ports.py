"""Ports for servers that a test starts in processes of their own."""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

# Below those that Linux gives to connections (net.ipv4.ip_local_port_range is 32768 to 60999). A port among
# them that is free now may be some connection's by the time the server is there.
LOWEST, HIGHEST = 16384, 32767
_LAST = Path(tempfile.gettempdir()) / f"anonmail-tests-port-{os.getuid()}"


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, and which no other test is given, in whatever process.

    They are given out in turn: each comes again after all others only.
    """
    with _LAST.open("a+") as last:
        fcntl.flock(last, fcntl.LOCK_EX)
        last.seek(0)
        port = int(last.read() or LOWEST)
        for _ in range(LOWEST, HIGHEST + 1):
            port = port + 1 if port < HIGHEST else LOWEST
            if _is_free(port):
                last.truncate(0)
                last.write(str(port))
                return port
    raise OSError("no port is free")


def free_ports(number: int) -> list[int]:
    """So many of them."""
    return [free_port() for _ in range(number)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
