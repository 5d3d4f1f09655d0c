"""Forwarding one message to one alias's destinations: each of them once, and the sender learns nothing."""

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Subquery
from django.urls import reverse
from django.utils import timezone

from aliases.models import AliasDestination
from core.prepared import Prepared
from mail.blocks import blocks
from mail.bounce import receive_bounce
from mail.message import (
    author,
    header_fields,
    is_looping,
    may_offer_unsubscribe,
    trace_fields,
    without_first_received,
)
from mail.models import Delivery, PausedDestination, readable
from mail.next_hop import Accepted, NextHop, Outcome, Pending, Refused
from mail.resolve import Kind, Resolution, resolve
from mail.return_path import return_path
from mail.settling import Settled, settle
from mail.unsubscribe import unsubscribe_token

logger = logging.getLogger(__name__)

# Seconds for all destinations of a message. Postfix waits 600 for our answer (lmtp_data_done_timeout):
# one that came later would find the message handed over again.
FORWARD_TIME = 240.0
# What the loop mark of postmaster@ and abuse@ stands for, which are no aliases.
ROLE_MARK = 0


class Answer(Enum):
    """What the sender is told for one recipient: ours alone, never the next hop's own words."""

    DONE = "250 2.0.0 Accepted"
    LATER = "451 4.4.1 Cannot deliver now, try again later"
    PAUSED = "450 4.2.1 Mailbox disabled, try again later"
    REFUSED = "550 5.7.1 Message refused"
    LOOP = "554 5.4.6 Routing loop detected"


@dataclass(frozen=True)
class Message:
    """A message as it was handed over.

    `is_queued`: who hands it over keeps these very octets until we answer for them (LMTP). Otherwise
    a relay in front may write its Received field anew with each try.
    """

    sender: str  # the envelope's; "" for the null sender
    content: bytes
    client: str  # who handed it over, as the trace field says it
    protocol: str
    utf8: bool = False
    is_queued: bool = False

    @cached_property
    def digest(self) -> str:
        """What a message that is handed over again is recognised by: 64 hexadecimal digits."""
        digest = hashlib.sha256(self.sender.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(self.content if self.is_queued else without_first_received(self.content))
        return digest.hexdigest()

    @cached_property
    def fields(self) -> list[tuple[str, str]]:
        """The header, as mail.message.header_fields reads it."""
        return list(header_fields(self.content))

    def settled(self, alias_id: int, destination_id: int, outcome: Accepted | Refused) -> Settled:
        """What is to be written about one copy of this message."""
        status = outcome.status if isinstance(outcome, Refused) else ""
        sender = readable(author(self.fields, self.sender))
        return Settled(alias_id, destination_id, self.digest, status, sender)


@dataclass
class _Copy:
    """One destination of an alias, and what is known of the message's copy for it."""

    destination_id: int
    email: str
    is_paused: bool
    is_accepted: bool | None  # None: not settled yet


# Everything that is asked before sending, in one statement: a row for each destination.
_COPIES = Prepared(
    lambda alias_id, digest: (
        AliasDestination.objects.filter(alias_id=alias_id)
        .order_by("pk")
        .values_list(
            "alias__address",
            "address_id",
            "address__email",
            Exists(PausedDestination.objects.filter(destination=OuterRef("address"))),
            Subquery(
                Delivery.objects.filter(
                    alias_id=alias_id, destination=OuterRef("address"), digest=digest
                ).values("accepted")[:1]
            ),
        )
    ),
    alias_id=models.BigIntegerField(),
    digest=models.CharField(),
)


class _Underway:
    """The messages that this process is forwarding: the same one, handed over again, waits its turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[tuple[int, str]] = set()

    @contextmanager
    def alone(self, key: tuple[int, str]) -> Iterator[bool]:
        """Whether nobody else has the key; it is taken for the block then."""
        with self._lock:
            is_free = key not in self._keys
            if is_free:
                self._keys.add(key)
        try:
            yield is_free
        finally:
            if is_free:
                with self._lock:
                    self._keys.discard(key)


_underway = _Underway()


def take(message: Message, resolution: Resolution, next_hop: NextHop) -> Answer:
    """Take a message for a recipient that was welcome, and say what became of it.

    Raises OperationalError while the database is away: then nothing is lost, the sender tries again.
    """
    match resolution.kind:
        case Kind.RETURN_PATH if resolution.address is not None:
            receive_bounce(resolution.address, message.content)
            return Answer.DONE
        case Kind.ROLE:
            return _to_postmaster(message, resolution, next_hop)
        case Kind.FORWARD if resolution.alias_id is not None:
            with _underway.alone((resolution.alias_id, message.digest)) as is_free:
                return forward(message, resolution.alias_id, next_hop) if is_free else Answer.LATER
    return Answer.REFUSED


def forward(message: Message, alias_id: int, next_hop: NextHop) -> Answer:
    """Send the message to every destination of the alias that does not have it yet.

    Later while any is pending; done once all are settled and one at least has accepted; refused when
    all refuse for good. Raises OperationalError while the database is away.
    """
    if is_looping(message.fields, alias_id):
        blocks.count(alias_id, author(message.fields, message.sender))
        return Answer.LOOP
    deadline = time.monotonic() + FORWARD_TIME
    rows = _COPIES(alias_id=alias_id, digest=message.digest)
    copies = [_Copy(*row[1:]) for row in rows]
    if not any(copy.is_accepted is None for copy in copies):
        return _answer(copies, is_pending=False)
    address = rows[0][0]
    content = _with_trace(message, address, alias_id)
    is_pending = False
    for copy in copies:
        if copy.is_accepted is not None or copy.is_paused:
            continue
        outcome: Outcome = Pending("out of time")
        if time.monotonic() < deadline:
            outcome = _send(message, content, copy, address, alias_id, next_hop)
        if isinstance(outcome, Pending):
            logger.info("alias %s destination %s pending: %s", alias_id, copy.destination_id, outcome.reason)
            is_pending = True
        else:
            copy.is_accepted = isinstance(outcome, Accepted)
            settle(message.settled(alias_id, copy.destination_id, outcome))
    return _answer(copies, is_pending=is_pending)


def _answer(copies: list[_Copy], *, is_pending: bool) -> Answer:
    if is_pending:
        return Answer.LATER
    if any(copy.is_accepted is None for copy in copies):
        return Answer.PAUSED
    return Answer.DONE if any(copy.is_accepted for copy in copies) else Answer.REFUSED


def _send(
    message: Message, content: bytes, copy: _Copy, address: str, alias_id: int, next_hop: NextHop
) -> Outcome:
    # Refused when it was added; a domain that became ours since then makes one of an honest address.
    if resolve(copy.email).kind in {Kind.FORWARD, Kind.BLOCKED, Kind.RETURN_PATH}:
        return Refused("5.4.6")
    sender = ""
    if message.sender:
        domain = address.rpartition("@")[2]
        sender = return_path(alias_id, copy.destination_id, domain, timezone.now())
    return next_hop.send(sender, copy.email, content, utf8=message.utf8)


def _to_postmaster(message: Message, resolution: Resolution, next_hop: NextHop) -> Answer:
    """Send the message on to MAIL_POSTMASTER, under the null sender: its bounces tell nobody who that is."""
    if is_looping(message.fields, ROLE_MARK):
        return Answer.LOOP
    content = _with_trace(message, str(resolution.address), ROLE_MARK)
    outcome = next_hop.send("", settings.MAIL_POSTMASTER, content, utf8=message.utf8)
    if isinstance(outcome, Accepted):
        return Answer.DONE
    return Answer.LATER if isinstance(outcome, Pending) else Answer.REFUSED


def _with_trace(message: Message, address: str, alias_id: int) -> bytes:
    unsubscribe = None
    if alias_id != ROLE_MARK and may_offer_unsubscribe(message.fields):
        path = reverse("alias-unsubscribe", args=[unsubscribe_token(alias_id)])
        unsubscribe = f"{settings.SITE_URL}{path}"
    fields = trace_fields(
        alias=address,
        alias_id=alias_id,
        moment=timezone.now(),
        client=message.client,
        protocol=message.protocol,
        unsubscribe=unsubscribe,
    )
    return fields + message.content
