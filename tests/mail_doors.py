"""The mail server's doors in a thread of the test, and a next hop that remembers."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mail.listen import Endpoint, listening_socket
from mail.next_hop import Accepted, Outcome
from mail.resolve import our_domains
from mail.server import Doors


@dataclass
class Hop:
    """A next hop that remembers, and answers as it is told."""

    answers: dict[str, Outcome] = field(default_factory=dict)
    sent: list[tuple[str, str, bytes]] = field(default_factory=list)

    def send(self, sender: str, recipient: str, message: bytes, *, utf8: bool = False) -> Outcome:
        outcome = self.answers.get(recipient, Accepted())
        if isinstance(outcome, Accepted):
            self.sent.append((sender, recipient, message))
        return outcome


@contextmanager
def running_doors(
    hop: Hop, *names: str, tls: ssl.SSLContext | None = None
) -> Iterator[dict[str, tuple[str, int]]]:
    """The (host, port) of each of these doors, over that next hop, with the settings as they are."""
    our_domains.forget()
    listeners: dict[str, socket.socket] = {name: listening_socket(Endpoint("127.0.0.1", 0)) for name in names}
    places = {name: listener.getsockname() for name, listener in listeners.items()}
    loop = asyncio.new_event_loop()
    doors = Doors(listeners, hop, tls)
    # All of the loop's life is in its own thread: a browser test's loop may own this one.
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(doors.open(), loop).result(10)
        yield places
    finally:
        asyncio.run_coroutine_threadsafe(doors.close(), loop).result(30)
        doors.lookups.executor.shutdown()
        doors.work.executor.shutdown()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
