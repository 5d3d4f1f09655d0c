"""What one client may take of a door: connections, memory, threads, guesses. Nobody can use up another's.

A client is an IPv4 address or an IPv6 /64 (core.client_address.network_of). Mail servers of ours in front
(MAIL_TRUSTED_CLIENTS) bring everybody's mail from one address, so they are nobody's: they have limits
of their own, and say who their client is where they ask (mail.server.policy).
"""

import asyncio
import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, Protocol

from django.conf import settings

from core.client_address import IPV6_PREFIX, is_trusted, network_of

LOCAL = "local"
# Seconds of the two periods in which unknown recipients are counted.
UNKNOWN_PERIOD = 600.0
UNKNOWN_DAY = 86_400.0
SLOW_MOST = 5
CLIENTS_REMEMBERED = 50_000
# Whoever is given an IPv6 network of this size, as tunnels give it to anybody, counts for so many clients.
SITE_PREFIX = 48
SITE_CLIENTS = 4


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
        networks = _networks(client)
        if len(self.open) >= self.most or any(
            self._numbers[network] >= self.most_per_client * factor for network, factor in networks
        ):
            return False
        self.open[connection] = client
        self._numbers.update(network for network, _factor in networks)
        return True

    def gone(self, connection: Any) -> None:
        """The connection has ended."""
        client = self.open.pop(connection, None)
        for network, _factor in _networks(client or ""):
            self._numbers[network] -= 1
            if not self._numbers[network]:
                del self._numbers[network]


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
    """Who names too many unknown recipients, in this process's memory. 0 for any number.

    At most so many within ten minutes; after so many within a day, SLOW_MOST within ten minutes. Once a
    client is over, every recipient is told to come later, whatever it is: nothing can be learned any more.
    It is not shut out for the day: behind one network may be all the people of a large mail provider.
    """

    def __init__(self, most: int, most_per_day: int = 0) -> None:
        self.most, self.most_per_day = most, most_per_day
        self._counts: OrderedDict[str, tuple[_Count, _Count]] = OrderedDict()

    def is_over(self, client: str) -> bool:
        """Whether the client, of `stranger`, is to come again later."""
        return any(self._is_over(network, factor) for network, factor in _networks(client))

    def _is_over(self, network: str, factor: int) -> bool:
        if network not in self._counts:
            return False
        now = time.monotonic()
        recent, daily = (count.at(now) for count in self._counts[network])
        most = self.most
        if 0 < self.most_per_day * factor <= daily:
            most = min(most, SLOW_MOST) if most else SLOW_MOST
        return 0 < most * factor <= recent

    def count(self, client: str) -> None:
        """The client has named an unknown recipient."""
        now = time.monotonic()
        for network, _factor in _networks(client):
            counts = self._counts.pop(network, None) or (_Count(UNKNOWN_PERIOD), _Count(UNKNOWN_DAY))
            for count in counts:
                count.add(now)
            self._counts[network] = counts
        while len(self._counts) > CLIENTS_REMEMBERED:
            self._counts.popitem(last=False)


class _Count:
    """How many there were in the running period, of so many seconds, which began with the first."""

    __slots__ = ("began", "number", "period")

    def __init__(self, period: float) -> None:
        self.period, self.began, self.number = period, float("-inf"), 0

    def at(self, now: float) -> int:
        return self.number if now - self.began < self.period else 0

    def add(self, now: float) -> None:
        self.number = self.at(now) + 1
        if self.number == 1:
            self.began = now


def _networks(client: str) -> list[tuple[str, int]]:
    """The client, and the larger network that somebody may have (RFC 6177): how many clients each is."""
    if not client.endswith(f"/{IPV6_PREFIX}"):
        return [(client, 1)] if client else []
    return [(client, 1), (str(ip_network(client).supernet(new_prefix=SITE_PREFIX)), SITE_CLIENTS)]
