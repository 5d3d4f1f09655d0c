"""What one client may take of a door: connections, memory, threads, guesses. Nobody can use up another's.

A client is an IPv4 address or an IPv6 /64 (core.proxies.network_of). Mail servers of ours in front
(MAIL_TRUSTED_CLIENTS) bring everybody's mail from one address, so they are nobody's: they have limits
of their own, and say who their client is where they ask (mail.policy).
"""

import asyncio
import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Any, Protocol

from django.conf import settings

from core.proxies import is_trusted, network_of

LOCAL = "local"
# Seconds of the two periods in which unknown recipients are counted.
UNKNOWN_PERIOD = 600.0
UNKNOWN_DAY = 86_400.0
CLIENTS_REMEMBERED = 50_000


def client_address(peer: Any) -> str:
    """The IP address in a socket's peer name; "local" for a UNIX socket's.

    A socket for both families writes IPv4 addresses as IPv6 ones (RFC 4291 §2.5.5.2): all of them
    would be one network.
    """
    if not (isinstance(peer, tuple) and peer):
        return LOCAL
    with contextlib.suppress(ValueError):
        address = ip_address(peer[0])
        if address.version == 6 and address.ipv4_mapped:
            return str(address.ipv4_mapped)
    return str(peer[0])


def stranger(client: str) -> str:
    """The network of a client that is limited by itself; "" for mail servers of ours."""
    return "" if is_trusted(client, settings.MAIL_TRUSTED_CLIENTS) else network_of(client)


class Connections:
    """Counts a door's connections, the whole and by client, and turns away those that are too many."""

    def __init__(self, most: int, most_per_client: int) -> None:
        self.most, self.most_per_client = most, most_per_client
        self.open: dict[Any, str] = {}
        self._numbers: Counter[str] = Counter()

    def admit(self, connection: Any, transport: asyncio.BaseTransport) -> bool:
        """Whether there is room for the connection, which is counted then, once."""
        if connection in self.open:
            return True
        client = stranger(client_address(transport.get_extra_info("peername")))
        if len(self.open) >= self.most or (client and self._numbers[client] >= self.most_per_client):
            return False
        self.open[connection] = client
        self._numbers[client] += 1
        return True

    def gone(self, connection: Any) -> None:
        """The connection has ended."""
        client = self.open.pop(connection, None)
        if client is None:
            return
        self._numbers[client] -= 1
        if not self._numbers[client]:
            del self._numbers[client]


class Incoming(Protocol):
    """A message that is being received."""

    def give_way(self) -> None:
        """Let go of what has come so far: its sender is told to come again."""


@dataclass
class _Held:
    client: str
    octets: int = 0
    may_give_way: bool = True


@dataclass
class Room:
    """The memory for all messages that one door takes at the same moment: MAIL_MEMORY octets.

    Where it is full, whoever holds most of it gives way, with the largest message: one client that
    fills it up is alone with that, and small messages go on coming in.
    """

    octets: int = 0
    _held: dict[Incoming, _Held] = field(default_factory=dict)

    def hold(self, message: Incoming, client: str, octets: int) -> None:
        """So many more octets of a message have come in. It may have to give way itself."""
        self._held.setdefault(message, _Held(client)).octets += octets
        self.octets += octets
        while self.octets > settings.MAIL_MEMORY and (largest := self._largest()) is not None:
            self.release(largest)
            largest.give_way()

    def keep(self, message: Incoming) -> None:
        """The message is whole, and is forwarded now: it gives way no more."""
        if held := self._held.get(message):
            held.may_give_way = False

    def release(self, message: Incoming) -> None:
        """The message is not in memory any more."""
        if held := self._held.pop(message, None):
            self.octets -= held.octets

    def _largest(self) -> Incoming | None:
        shares: Counter[str] = Counter()
        for held in self._held.values():
            shares[held.client] += held.octets
        coming = [
            (shares[held.client], held.octets, message)
            for message, held in self._held.items()
            if held.may_give_way
        ]
        return max(coming, key=lambda each: each[:2])[2] if coming else None


class Turns:
    """How many of a client's messages are forwarded at once: half of the threads, the others wait."""

    def __init__(self, threads: int) -> None:
        self.most = max(1, threads // 2)
        self._queues: dict[str, tuple[asyncio.Semaphore, int]] = {}

    async def take(self, client: str) -> Callable[[], None]:
        """Wait for the client's turn, and return what ends it. Mail servers of ours need not wait."""
        if not client:
            return _nothing
        queue, number = self._queues.get(client) or (asyncio.Semaphore(self.most), 0)
        self._queues[client] = (queue, number + 1)
        try:
            await queue.acquire()
        except BaseException:
            self._leave(client)
            raise
        return partial(self._end, client, queue)

    def _end(self, client: str, queue: asyncio.Semaphore) -> None:
        queue.release()
        self._leave(client)

    def _leave(self, client: str) -> None:
        queue, number = self._queues.pop(client)
        if number > 1:
            self._queues[client] = (queue, number - 1)


def _nothing() -> None:
    """Nobody has waited."""


class UnknownLimit:
    """Who names too many unknown recipients, in this process's memory: in ten minutes, and in a day.

    0 for any number. Once a client is over a limit, every recipient is told to come later, whatever it
    is: so that nothing can be learned any more.
    """

    def __init__(self, most: int, most_per_day: int = 0) -> None:
        self.most = (most, most_per_day)
        self._counts: OrderedDict[str, list[tuple[float, int]]] = OrderedDict()

    def is_over(self, client: str) -> bool:
        """Whether the client, of `stranger`, is to come again later."""
        counts = self._counts.get(client)
        now = time.monotonic()
        return counts is not None and any(
            0 < most <= count and now - began < period
            for most, period, (began, count) in zip(self.most, _periods(), counts, strict=True)
        )

    def count(self, client: str) -> None:
        """The client has named an unknown recipient."""
        if not client:
            return
        now = time.monotonic()
        counts = self._counts.pop(client, None) or [(now, 0), (now, 0)]
        self._counts[client] = [
            (began, count + 1) if now - began < period else (now, 1)
            for period, (began, count) in zip(_periods(), counts, strict=True)
        ]
        if len(self._counts) > CLIENTS_REMEMBERED:
            self._counts.popitem(last=False)


def _periods() -> tuple[float, float]:
    return UNKNOWN_PERIOD, UNKNOWN_DAY
