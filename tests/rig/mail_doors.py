"""The mail server's doors in a thread of the test, and a next hop that remembers."""

import asyncio
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from core.listening import Endpoint, listening_socket
from mail.delivery.forward import Forwarder
from mail.delivery.handover import Answer, Message
from mail.delivery.lookups import Lookups
from mail.delivery.message import Octets
from mail.delivery.next_hop import Accepted, NextHop, Outcome
from mail.delivery.record import Ledger
from mail.delivery.resolve import Resolution, our_domains
from mail.server.doors import Doors


@dataclass
class Hop:
    """A next hop that remembers, and answers as it is told."""

    answers: dict[str, Outcome] = field(default_factory=dict)
    sent: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def send(
        self, sender: str, recipient: str, message: Octets, *, top: bytes = b"", utf8: bool = False
    ) -> Outcome:
        outcome = self.answers.get(recipient, Accepted())
        if isinstance(outcome, Accepted):
            self.sent.append((sender, recipient, top + message))
        return outcome

    async def close(self) -> None:
        """Nothing to let go of."""


@contextmanager
def closed_after(*gatherers: Any) -> Iterator[tuple[Any, ...]]:
    """The gatherers, whose threads end with the block."""
    try:
        yield gatherers
    finally:
        for gatherer in gatherers:
            gatherer.close()
        for gatherer in gatherers:
            gatherer.thread.join(30)


class Process:
    """What forwards in a process of its own, without doors."""

    def __init__(self, hop: NextHop) -> None:
        self.lookups, self.ledger = Lookups(), Ledger()
        self.forwarder = Forwarder(hop, self.lookups, self.ledger)
        self.runner = asyncio.Runner()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_error: object) -> None:
        with closed_after(self.lookups, self.ledger):
            self.runner.close()

    def take(self, message: Message, resolution: Resolution) -> Answer:
        return self.runner.run(self.forwarder.take(message, resolution))


def take(message: Message, resolution: Resolution, hop: NextHop) -> Answer:
    """What a process answers for its only message."""
    with Process(hop) as process:
        return process.take(message, resolution)


# At a free port.
LOCAL = Endpoint("127.0.0.1", 0)


@contextmanager
def running_doors(
    hop: NextHop, *names: str, tls: ssl.SSLContext | None = None
) -> Iterator[dict[str, tuple[str, int]]]:
    """The (host, port) of each of these doors, over that next hop, with the settings as they are."""
    with running_doors_at(hop, dict.fromkeys(names, LOCAL), tls) as places:
        yield places


@contextmanager
def running_doors_at(
    hop: NextHop, endpoints: Mapping[str, Endpoint], tls: ssl.SSLContext | None = None
) -> Iterator[dict[str, tuple[str, int]]]:
    """The same at these endpoints."""
    our_domains.forget()
    listeners = {name: listening_socket(place) for name, place in endpoints.items()}
    places = {name: listener.getsockname() for name, listener in listeners.items()}
    loop = asyncio.new_event_loop()
    doors = Doors(listeners, hop, tls)
    # All of the loop's life is in its own thread: a browser test's loop may own this one.
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(doors.open(), loop).result(60)
        yield places
    finally:
        asyncio.run_coroutine_threadsafe(_close(doors), loop).result(60)
        for gatherer in doors.gatherers:
            gatherer.thread.join(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


async def _close(doors: Doors) -> None:
    """Close them, and let the loop end what it was told to."""
    await doors.close()
    await asyncio.sleep(0.05)
    await asyncio.get_running_loop().shutdown_default_executor()
