"""The mail server's doors with nothing behind them: what the protocols cost without Anonmail's rules.

Every recipient is an alias with one destination: nothing is looked up or written, and each message goes on
below the same fields.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
from collections.abc import Mapping, Sequence

from bench import rig
from core.addresses import Address
from core.listening import listening_socket
from mail.delivery.forward import Forwarder, Redirection
from mail.delivery.handover import Answer, Head, Message, Said
from mail.delivery.lookups import Lookups
from mail.delivery.message import written
from mail.delivery.next_hop import Accepted, configured_next_hop
from mail.delivery.resolve import Kind, Resolution
from mail.server.doors import Doors
from mail.server.listening import endpoints
from mail.server.processes import keep_for_good, keep_memory_small, read_little_at_once, shares_of

DOMAIN = "d0.example.com"
SENDER = f"b.{'a' * 52}@{DOMAIN}"
# As many fields, of the same length, as Anonmail puts on top.
FIELDS = [
    ("Received", "from mail.sender.test ([192.0.2.1]) by d0.example.com (Anonmail) with LMTP;\r\n\tnow"),
    ("X-Anonmail-Alias", f"1n@{DOMAIN}"),
    ("X-Anonmail-Loop", "a" * 32),
    ("List-Unsubscribe", f"<https://anonmail.example.com/u/{'a' * 50}/>"),
    ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
]
TOP = written(FIELDS)
ALIAS = Resolution(Kind.FORWARD, Address("1n", DOMAIN), alias_id=1)


class BareLookups(Lookups):
    """Knows what every address is."""

    async def resolve(self, address: str) -> Resolution:
        return ALIAS


class BareForwarder(Forwarder):
    """Sends each message on at once."""

    _numbers = itertools.count()

    async def take(self, message: Message, resolution: Resolution) -> Answer | Said:
        outcome = await self.next_hop.send(SENDER, self._destination(), message.content, top=TOP)
        # Not Answer.DONE: the door would have the message forgotten, which is a rule.
        return Said(Answer.DONE.value) if isinstance(outcome, Accepted) else Answer.LATER

    async def redirect(self, head: Head, alias: Resolution, alias_id: int) -> Redirection | Answer | None:
        return Redirection(SENDER, self._destination(), FIELDS)

    def _destination(self) -> str:
        return f"user{next(self._numbers) % rig.USERS}@far.test"


def without_rules(doors: Doors) -> Doors:
    """The same doors, before they open, with nothing behind them."""
    doors.lookups = BareLookups()
    doors.forwarder = BareForwarder(doors.forwarder.next_hop, doors.lookups, doors.ledger)
    return doors


async def _serve(listeners: Mapping[str, socket.socket], others: Sequence[int]) -> None:
    keep_memory_small()
    read_little_at_once()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    doors = without_rules(Doors(listeners, configured_next_hop()))
    if doors.domain_table:
        doors.domain_table.update({DOMAIN: False})
    await doors.open()
    keep_for_good()
    await stop.wait()
    for process in others:
        os.kill(process, signal.SIGTERM)
    # The threads that nobody asks anything would be waited for.
    os._exit(0)


def serve() -> None:
    """Listen as `manage.py mailserver` does, in as many processes, until SIGTERM."""
    with contextlib.ExitStack() as stack:
        places = endpoints().items()
        listeners = {name: stack.enter_context(listening_socket(place)) for name, place in places}
        share, *shares = shares_of(listeners)
        others: list[int] = []
        for each in shares:
            if process := os.fork():
                others.append(process)
            else:
                share, others = each, []
                break
        asyncio.run(_serve(share, others))
