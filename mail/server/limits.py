"""What one client may take of a door: connections, memory, turns, guesses. Nobody can use up another's.

A client is an IPv4 address or an IPv6 /64 (core.client_address.network_of). Our own mail servers in front
(MAIL_TRUSTED_CLIENTS) bring everybody's mail from one address, so none of this limits them: they have
limits of their own, and their policy questions name the client (mail.server.policy).
"""

import asyncio
import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Protocol

from django.conf import settings

from core.client_address import IPV6_PREFIX, is_trusted, network_of, parse_ip

LOCAL = "local"
# Seconds of the two periods in which unknown recipients are counted.
UNKNOWN_PERIOD = 600.0
UNKNOWN_DAY = 86_400.0
# Unknown recipients in the short period, once the daily limit is reached.
SLOW_MAX = 5
CLIENTS_REMEMBERED = 50_000
# An IPv6 network of this size, as tunnel brokers give to anybody, counts as this many clients.
SITE_PREFIX = 48
SITE_CLIENTS = 4
# Seconds that a large message waits for another one: Postfix waits 180 for us to read on
# (lmtp_data_xfer_timeout).
LARGE_PATIENCE = 60.0


def client_address(peer: Any) -> str:
    """The IP address in a socket's peer name; "local" for a UNIX socket's."""
    if not (isinstance(peer, tuple) and peer):
        return LOCAL
    return str(parse_ip(peer[0]) or peer[0])


def limited_client(address: str) -> str:
    """The network by which a client is limited; "" for our own mail servers."""
    return "" if is_trusted(address, settings.MAIL_TRUSTED_CLIENTS) else network_of(address)


class Connections:
    """Counts a door's connections, in all and by client, and refuses those above the limits."""

    def __init__(self, limit: int, limit_per_client: int) -> None:
        self.limit, self.limit_per_client = limit, limit_per_client
        self.open: dict[Any, str] = {}
        self._numbers: Counter[str] = Counter()

    def admit(self, connection: Any, transport: asyncio.BaseTransport) -> bool:
        """Whether there is room for the connection, which is then counted, once."""
        if connection in self.open:
            return True
        client = limited_client(client_address(transport.get_extra_info("peername")))
        networks = _networks(client)
        if len(self.open) >= self.limit or any(
            self._numbers[network] >= self.limit_per_client * factor for network, factor in networks
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


class InMemory(Protocol):
    """A message that takes memory while it is received."""

    def give_way(self) -> None:
        """Drop what has come so far, and answer "try again later"."""


@dataclass
class _Held:
    client: str
    octets: int = 0
    may_give_way: bool = True


@dataclass
class MessageMemory:
    """The memory for all messages that one door takes at the same moment: MAIL_MEMORY octets.

    When it is full, the client that holds most of it loses its largest message: a client that fills the
    memory harms only itself, and small messages still come in.
    """

    octets: int = 0
    _held: dict[InMemory, _Held] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _whose_turn: InMemory | None = None

    async def wait_for_turn(self, message: InMemory) -> None:
        """Let one large message come in after the other, each until it is released: at most LARGE_PATIENCE
        seconds, then it comes in beside those that take so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LARGE_PATIENCE):
                await self._turn.acquire()
            self._whose_turn = message

    def hold(self, message: InMemory, client: str, octets: int) -> None:
        """Count more octets of a message that have come in. It may have to give way itself."""
        self._held.setdefault(message, _Held(client)).octets += octets
        self.octets += octets
        while self.octets > settings.MAIL_MEMORY and (largest := self._largest()) is not None:
            self.release(largest)
            largest.give_way()

    def keep(self, message: InMemory) -> None:
        """The message is complete and about to be forwarded: it no longer gives way."""
        if held := self._held.get(message):
            held.may_give_way = False

    def release(self, message: InMemory) -> None:
        """The message is no longer in memory."""
        if held := self._held.pop(message, None):
            self.octets -= held.octets
        if self._whose_turn is message:
            self._whose_turn = None
            self._turn.release()

    def _largest(self) -> InMemory | None:
        shares: Counter[str] = Counter()
        for held in self._held.values():
            shares[held.client] += held.octets
        incoming = {message: held for message, held in self._held.items() if held.may_give_way}
        return max(incoming, key=lambda it: (shares[incoming[it].client], incoming[it].octets), default=None)


class ForwardingTurns:
    """Lets at most half of the messages that are forwarded at once be one client's; its others wait."""

    def __init__(self, at_once: int) -> None:
        self.limit = max(1, at_once // 2)
        self._queues: dict[str, tuple[asyncio.Semaphore, int]] = {}

    async def take(self, client: str) -> Callable[[], None]:
        """Wait for the client's turn, and return what ends it. Our own mail servers need not wait."""
        if not client:
            return lambda: None
        queue, number = self._queues.get(client) or (asyncio.Semaphore(self.limit), 0)
        self._queues[client] = (queue, number + 1)
        try:
            await queue.acquire()
        except BaseException:
            self._leave(client)
            raise

        def end() -> None:
            queue.release()
            self._leave(client)

        return end

    def _leave(self, client: str) -> None:
        queue, number = self._queues.pop(client)
        if number > 1:
            self._queues[client] = (queue, number - 1)


class UnknownRecipientLimit:
    """Knows which clients have named too many unknown recipients, in this process's memory.

    `limit`: unknown recipients within ten minutes; `limit_per_day`: within a day, after which SLOW_MAX is
    the limit for ten minutes. 0 for any number. A client over the limit gets "try again later" for every
    recipient, so that it learns nothing more. It is not shut out for the whole day: all the people of a
    large mail provider may be behind one network.
    """

    def __init__(self, limit: int, limit_per_day: int = 0) -> None:
        self.limit, self.limit_per_day = limit, limit_per_day
        self._counts: OrderedDict[str, tuple[_Count, _Count]] = OrderedDict()

    def is_over(self, client: str) -> bool:
        """Whether the client (of `limited_client`) has named too many."""
        now = time.monotonic()
        for network, factor in _networks(client):
            if network not in self._counts:
                continue
            recent, daily = (count.at(now) for count in self._counts[network])
            limit = self.limit
            if 0 < self.limit_per_day * factor <= daily:
                limit = min(limit or SLOW_MAX, SLOW_MAX)
            if 0 < limit * factor <= recent:
                return True
        return False

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
    """The number within a period, in seconds, that begins with the first one."""

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
    """The client, and the larger network that one person may have (RFC 6177): how many clients each is."""
    if not client.endswith(f"/{IPV6_PREFIX}"):
        return [(client, 1)] if client else []
    return [(client, 1), (str(ip_network(client).supernet(new_prefix=SITE_PREFIX)), SITE_CLIENTS)]
