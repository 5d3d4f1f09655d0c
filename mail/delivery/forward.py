"""Forwarding a message to an alias's destinations, once to each, without the sender learning about them."""

import hashlib
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cached_property, partial

from django.conf import settings
from django.db import IntegrityError, models
from django.db.models import F, FilteredRelation, Q
from django.urls import reverse
from django.utils import timezone

from aliases.models import AliasDestination
from core.db.compiled import CompiledQuery
from mail.delivery import record
from mail.delivery.blocks import blocks
from mail.delivery.bounce import receive_bounce
from mail.delivery.faults import note_fault
from mail.delivery.gatherer import ANSWER_TIMEOUT
from mail.delivery.lookups import IS_PAUSED, Lookups
from mail.delivery.message import (
    Fields,
    author,
    header_fields,
    is_looping,
    joint,
    may_offer_unsubscribe,
    trace_fields,
    without_first_received,
    written,
)
from mail.delivery.next_hop import Accepted, NextHop, Outcome, Pending, Refused
from mail.delivery.record import Ledger, Redirected
from mail.delivery.report import in_one_line
from mail.delivery.resolve import Kind, Resolution, resolve
from mail.delivery.return_path import return_path
from mail.models import Delivery, readable
from mail.unsubscribe import unsubscribe_token

logger = logging.getLogger(__name__)

# Seconds for all destinations of a message. Postfix waits 600 for our answer (lmtp_data_done_timeout):
# one that came later would find the message handed over again.
FORWARD_TIME = 240.0


class Answer(Enum):
    """Our answer to the sender for one recipient, never the next hop's own words."""

    DONE = "250 2.0.0 Accepted"
    LATER = "451 4.4.1 Cannot deliver now, try again later"
    PAUSED = "450 4.2.1 Mailbox disabled, try again later"
    REFUSED = "550 5.7.1 Message refused"
    LOOP = "554 5.4.6 Routing loop detected"


@dataclass(frozen=True)
class Head:
    """What is known of a message without its body.

    `fields`: the header, as mail.delivery.message.header_fields reads it.
    """

    sender: str  # the envelope's; "" for the null sender
    fields: Fields
    client: str  # who handed it over, as the trace field says it
    protocol: str

    @cached_property
    def author(self) -> str:
        """Who wrote the message, as the owner sees it."""
        return author(self.fields, self.sender)


@dataclass(frozen=True)
class Message:
    """A message as it was handed over.

    `is_queued`: who hands it over keeps these very octets until we answer for them (LMTP). Otherwise
    a relay in front may write its Received field anew with each try.
    """

    sender: str  # as that of its head, like the next two
    content: bytes
    client: str
    protocol: str
    utf8: bool = False
    is_queued: bool = False

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits that identify the message when it is handed over again."""
        digest = hashlib.sha256(self.sender.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(self.content if self.is_queued else without_first_received(self.content))
        return digest.hexdigest()

    @cached_property
    def head(self) -> Head:
        return Head(self.sender, list(header_fields(self.content)), self.client, self.protocol)


Key = tuple[int, str]


def recognised_by(message: Message, resolution: Resolution) -> Key:
    """The alias, and the digest, by which the message is recognised when it is handed over again: without
    an alias (NO_ALIAS), the digest covers the address too."""
    if resolution.alias_id is not None:
        return resolution.alias_id, message.digest
    return record.NO_ALIAS, hashlib.sha256(f"{resolution.address}\0{message.digest}".encode()).hexdigest()


@dataclass
class _Copy:
    """One destination of a message, and what is known of its copy for it."""

    destination_id: int
    email: str
    is_paused: bool = False
    # The delivery that was begun or settled before; is_accepted stays None until it is settled.
    delivery_id: int | None = None
    is_accepted: bool | None = None
    moment: datetime | None = None

    @property
    def is_waiting(self) -> bool:
        return self.is_accepted is None and not self.is_paused

    def is_underway(self, now: datetime) -> bool:
        """Whether somebody has begun to send it a moment ago, by either clock."""
        return self.moment is not None and abs(now - self.moment) < record.LEASE


# Everything that must be known before sending, in one statement: a row for each destination.
_COPIES = CompiledQuery(
    lambda alias_id, digest: (
        AliasDestination.objects.filter(alias_id=alias_id)
        .annotate(
            delivery=FilteredRelation(
                "alias__deliveries",
                condition=Q(alias__deliveries__destination=F("address"), alias__deliveries__digest=digest),
            )
        )
        .order_by("pk")
        .values_list(
            "alias__address",
            "address_id",
            "address__email",
            IS_PAUSED,
            "delivery__pk",
            "delivery__accepted",
            "delivery__moment",
        )
    ),
    alias_id=models.BigIntegerField(),
    digest=models.CharField(),
)


class _Underway:
    """The messages that this process is forwarding: the same one, handed over again, must wait."""

    def __init__(self) -> None:
        self._owners: dict[Key, object] = {}

    @contextmanager
    def alone(self, key: Key) -> Iterator[bool]:
        """Whether the key was free; if so, it is taken for the duration of the block."""
        mine = object()
        # One step: no other thread comes between.
        is_free = self._owners.setdefault(key, mine) is mine
        try:
            yield is_free
        finally:
            if is_free:
                del self._owners[key]


_underway = _Underway()


def take(message: Message, resolution: Resolution, next_hop: NextHop) -> Answer:
    """Take a message for an accepted recipient, and return the answer.

    Raises what the database raises while it is away or takes no changes: then nothing was sent, and the
    sender tries again.
    """
    key = recognised_by(message, resolution)
    match resolution.kind:
        case Kind.RETURN_PATH if resolution.address is not None:
            receive_bounce(resolution.address, message.content)
            return Answer.DONE
        case Kind.ROLE:
            send = partial(_to_postmaster, message, str(resolution.address), key[1], next_hop)
        case Kind.FORWARD if resolution.alias_id is not None:
            send = partial(forward, message, resolution.alias_id, next_hop)
        case _:
            return Answer.REFUSED
    with _underway.alone(key) as is_free:
        return send() if is_free else Answer.LATER


def forward(message: Message, alias_id: int, next_hop: NextHop) -> Answer:
    """Send the message to every destination of the alias that does not have it yet.

    Later while any is pending; done once all are settled and one at least has accepted; refused when
    all refuse for good. Raises what the database raises before anything is sent.
    """
    if is_looping(message.head.fields, alias_id):
        blocks.count(alias_id, message.head.author)
        return Answer.LOOP
    rows = _COPIES(alias_id=alias_id, digest=message.digest)
    copies = [_Copy(*row[1:]) for row in rows]
    if not rows:
        return Answer.REFUSED
    return _Sending(message, rows[0][0], (alias_id, message.digest), next_hop).answer(copies)


def _to_postmaster(message: Message, address: str, digest: str, next_hop: NextHop) -> Answer:
    """Send the message to MAIL_POSTMASTER."""
    if is_looping(message.head.fields, record.NO_ALIAS):
        return Answer.LOOP
    found = Delivery.objects.filter(alias=None, digest=digest).values_list("pk", "accepted", "moment")
    copy = _Copy(0, settings.MAIL_POSTMASTER, False, *(found.first() or ()))
    return _Sending(message, address, (record.NO_ALIAS, digest), next_hop).answer([copy])


_OURS = {Kind.FORWARD, Kind.BLOCKED, Kind.RETURN_PATH}


@dataclass
class _Sending:
    """One message on its way to the destinations of one address."""

    message: Message
    address: str
    key: Key
    next_hop: NextHop

    def answer(self, copies: Sequence[_Copy]) -> Answer:
        """Send the copies that are waiting, and return the answer for all of them."""
        alias_id, digest = self.key
        for copy in copies:
            known = record.unwritten_outcome(alias_id, copy.destination_id, digest)
            copy.is_accepted = copy.is_accepted if known is None else known
        now = timezone.now()
        due = [copy for copy in copies if copy.is_waiting and not copy.is_underway(now)]
        pending = sum(copy.is_waiting for copy in copies) - len(due)
        if due:
            try:
                pending += self._send_all(due)
            except IntegrityError:
                # Another process was faster, or the alias is gone: the next try finds out.
                pending += len(due)
        if pending:
            return Answer.LATER
        if any(copy.is_accepted is None for copy in copies):
            return Answer.PAUSED
        return Answer.DONE if any(copy.is_accepted for copy in copies) else Answer.REFUSED

    def _send_all(self, copies: Sequence[_Copy]) -> int:
        """Send them, one after the other; how many of them are pending."""
        alias_id, digest = self.key
        deadline = time.monotonic() + FORWARD_TIME
        # Such a destination cannot be added, but its domain may have become ours since then.
        ours = {copy.destination_id for copy in copies if alias_id and resolve(copy.email).kind in _OURS}
        sender = readable(self.message.head.author)
        trace = written(_trace(self.message.head, self.address, alias_id))
        content = trace + joint(self.message.content) + self.message.content
        stale = tuple(copy.delivery_id for copy in copies if copy.delivery_id is not None)
        record.begin(record.Begun(alias_id, digest, tuple(copy.destination_id for copy in copies), stale))
        pending = []
        for copy in copies:
            outcome: Outcome = Pending("out of time")
            if copy.destination_id in ours:
                outcome = Refused("5.4.6")
            elif time.monotonic() < deadline:
                utf8 = self.message.utf8
                outcome = self.next_hop.send(self._sender_for(copy), copy.email, content, utf8=utf8)
            if isinstance(outcome, Pending):
                logger.info(
                    "alias %s destination %s pending: %s", alias_id, copy.destination_id, outcome.reason
                )
                if outcome.is_ours:
                    note_fault(f"next hop: {outcome.reason}")
                pending.append(copy.destination_id)
                continue
            copy.is_accepted = isinstance(outcome, Accepted)
            refusal = outcome if isinstance(outcome, Refused) else Refused("")
            status, reason = refusal.status, in_one_line(refusal.words)
            record.settle(record.Settled(alias_id, copy.destination_id, digest, status, sender, reason))
        if pending:
            record.release(record.Released(alias_id, digest, tuple(pending)))
        return len(pending)

    def _sender_for(self, copy: _Copy) -> str:
        """A return path; the null sender for bounces, and for the postmaster, whom no bounce may reveal."""
        alias_id, digest = self.key
        if not alias_id:
            return ""
        return _new_sender(self.message.sender, self.address, alias_id, copy.destination_id, digest)


def _new_sender(sender: str, address: str, alias_id: int, destination_id: int, digest: str) -> str:
    """The envelope sender with which a message to the alias goes on: a bounce keeps the null sender."""
    domain = address.rpartition("@")[2]
    return return_path(alias_id, destination_id, domain, timezone.now(), digest) if sender else ""


def _trace(head: Head, address: str, alias_id: int) -> Fields:
    unsubscribe = None
    if alias_id and may_offer_unsubscribe(head.fields):
        path = reverse("alias-unsubscribe", args=[unsubscribe_token(alias_id)])
        unsubscribe = f"{settings.SITE_URL}{path}"
    return trace_fields(address, alias_id, head.client, head.protocol, unsubscribe)


@dataclass(frozen=True)
class Redirection:
    """How the mail server in front sends a message on by itself: its new envelope, and fields on top."""

    sender: str
    recipient: str
    fields: Fields


async def redirect(head: Head, alias_id: int, lookups: Lookups, ledger: Ledger) -> Redirection | None:
    """Let the mail server in front send the message to the alias's destination, counted as forwarded.

    None, and nothing is counted, if it has to hand it over instead (`take`): to an alias with several
    destinations or a paused one, or that no longer receives, in a loop, or if it needs SMTPUTF8. Raises
    TooLate after ANSWER_TIMEOUT, and what the database raises while it is away or takes no changes.

    Nothing recognises the message if it comes again. The mail server in front may fail to queue it after
    our answer; a second try that was swallowed then would be a message lost.
    """
    if not _is_ascii(head) or is_looping(head.fields, alias_id):
        return None
    deadline = time.monotonic() + ANSWER_TIMEOUT
    with ledger.expected():
        destinations = await lookups.destinations(alias_id)
        if len(destinations) != 1:
            return None
        ((address, destination_id, email, is_paused),) = destinations
        if is_paused or (await lookups.resolve(email)).kind in _OURS:
            return None
        # In place of a digest: what tells a day's messages apart in a return path.
        sender = _new_sender(head.sender, address, alias_id, destination_id, secrets.token_hex(2))
        redirection = Redirection(sender, email, _trace(head, address, alias_id))
        await ledger.write(Redirected(alias_id, destination_id, readable(head.author), deadline), deadline)
    return redirection


def _is_ascii(head: Head) -> bool:
    return head.sender.isascii() and all(text.isascii() for _name, text in head.fields)
