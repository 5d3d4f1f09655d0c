"""Where the mail server listens, as the MAIL_…LISTEN settings say."""

import asyncio
import socket
from collections.abc import Iterable

from django.conf import settings

from core.listening import Endpoint, endpoint, listening_socket

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


def open_doors(given: Iterable[tuple[str, socket.socket]]) -> dict[str, socket.socket]:
    """The listening socket of each door: the given one of its name, or a new one.

    Raises OSError and ValueError, which name the setting.
    """
    ours = dict(given)
    opened: dict[str, socket.socket] = {}
    for door, place in endpoints().items():
        try:
            opened[door] = ours.get(door) or listening_socket(place)
        except OSError as error:
            for listener in opened.values():
                listener.close()
            raise OSError(f"{DOORS[door]}: {error}") from error
    return opened


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
