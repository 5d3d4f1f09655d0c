"""What is recorded about a message: that its copies are about to be sent, and the outcome of each.

Nothing is sent before that it is begun, or redirected, has been committed. `settle` then writes the next
hop's answer; if the database cannot take it, this process remembers it, and begins nothing more until it is
written.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from allauth.account.models import EmailAddress
from django.db import IntegrityError, models, transaction
from django.db.models import F
from django.utils import timezone

from aliases.models import Alias
from contacts.book import Found, Wanted, contacts_for_all
from contacts.models import Contact
from core.db.compiled import CompiledChange, insert_rows
from core.db.locks import limit_lock_wait
from core.db.statements import pipelined
from mail.delivery.bounce import Returned, count_returned, note_bounce
from mail.delivery.database import WRITE_TIMEOUT, refuse_late
from mail.delivery.faults import note_fault
from mail.delivery.gatherer import ANSWER_TIMEOUT, Gatherer
from mail.delivery.senders import NotedSenders, Pair, Sender
from mail.models import STATUS_MAX, Activity, Delivery, Event

logger = logging.getLogger(__name__)

# Stands for an alias and a destination if there are none: for postmaster@ and abuse@, and bounces.
NO_ALIAS = 0
# How long a copy that was begun counts as underway, in any process. After that, the process that began
# it must be gone, and nobody knows whether it was sent: it is sent again, so that none is lost.
LEASE = timedelta(seconds=30)


@dataclass(frozen=True)
class Begun:
    """Copies of a message that are about to be sent."""

    alias_id: int
    digest: str
    destination_ids: tuple[int, ...]
    stale: tuple[int, ...] = ()  # keys of deliveries that were begun before, with an unknown outcome
    deadline: float = field(default_factory=lambda: time.monotonic() + ANSWER_TIMEOUT)


@dataclass(frozen=True)
class Settled:
    """One copy that the next hop has taken, or refused for good with this status (RFC 3463)."""

    alias_id: int
    destination_id: int
    digest: str
    status: str  # "" if it was accepted
    sender: str
    reason: str = ""  # why it was refused, in one line
    contact_id: int | None = None
    contact_name: str = ""  # as the author's own From has it, to be noted if the contact has none
    caution: str = ""  # mail.models.Caution
    heard: Sender | None = None  # if the alias was made for another website

    @property
    def is_accepted(self) -> bool:
        return not self.status


@dataclass(frozen=True)
class Replied(Settled):
    """A reply that the next hop has taken, or refused for good. Its delivery has no alias: the digest says
    which contact it was for."""

    from_alias: int = 0
    contact_id: int = 0


@dataclass(frozen=True)
class Released:
    """Copies that were begun, and that the next hop has not taken."""

    alias_id: int
    digest: str
    destination_ids: tuple[int, ...]


@dataclass(frozen=True)
class Forgotten:
    """A message that need not be recognised any more."""

    alias_id: int
    digest: str


@dataclass(frozen=True)
class Redirected:
    """A message that the mail server in front sends on by itself: it counts as forwarded, unless that could
    not be written by the deadline (of time.monotonic())."""

    alias_id: int
    destination_id: int
    sender: str
    deadline: float
    contact_id: int | None = None
    heard: Sender | None = None


@dataclass(frozen=True)
class Fault:
    """A fault of this site (mail.delivery.faults)."""

    what: str


@dataclass(frozen=True)
class Retry:
    """Nothing new: what could not be written before is tried again."""


RETRY = Retry()
Entry = Begun | Settled | Released | Forgotten | Redirected | Returned | Fault | Retry
# Seconds that a commit waits for others that are about to be written.
COMPANY = 0.005


def _deliveries(entry: Settled | Released | Forgotten) -> "models.QuerySet[Delivery]":
    found = Delivery.objects.filter(alias=entry.alias_id or None, digest=entry.digest)
    return found.filter(destination=entry.destination_id or None) if isinstance(entry, Settled) else found


_COUNT = CompiledChange(
    lambda key, number, now: Alias.objects.filter(pk=key),
    lambda key, number, now: {"forwards": F("forwards") + number, "active_at": now},
    key=models.BigIntegerField(),
    number=models.IntegerField(),
    now=models.DateTimeField(),
)
_COUNT_FROM_ALIAS = CompiledChange(
    lambda key, number, now: Alias.objects.filter(pk=key),
    lambda key, number, now: {"replies": F("replies") + number, "active_at": now},
    key=models.BigIntegerField(),
    number=models.IntegerField(),
    now=models.DateTimeField(),
)
_COUNT_TO_CONTACT = CompiledChange(
    lambda key, number, now: Contact.objects.filter(pk=key),
    lambda key, number, now: {"replies": F("replies") + number, "last_reply_at": now},
    key=models.BigIntegerField(),
    number=models.IntegerField(),
    now=models.DateTimeField(),
)
_COUNT_CONTACT = CompiledChange(
    lambda key, number, now: Contact.objects.filter(pk=key),
    lambda key, number, now: {"forwards": F("forwards") + number, "last_forward_at": now},
    key=models.BigIntegerField(),
    number=models.IntegerField(),
    now=models.DateTimeField(),
)
_NAME_CONTACT = CompiledChange(
    lambda key, name, before: Contact.objects.filter(pk=key, name=before, is_name_kept=False),
    lambda key, name, before: {"name": name},
    key=models.BigIntegerField(),
    name=models.CharField(),
    before=models.CharField(),
)
_RETAKE = CompiledChange(lambda key: Delivery.objects.filter(pk=key), key=models.BigIntegerField())
_COPY: dict[str, Any] = {
    "alias_id": models.BigIntegerField(),
    "destination_id": models.BigIntegerField(),
    "digest": models.CharField(),
}
_SETTLE = CompiledChange(
    lambda accepted, **copy: Delivery.objects.filter(**copy),
    lambda accepted, **copy: {"accepted": accepted},
    accepted=models.BooleanField(),
    **_COPY,
)
_RELEASE = CompiledChange(
    lambda **copy: Delivery.objects.filter(accepted__isnull=True, **copy), None, **_COPY
)
_FORGET = CompiledChange(
    lambda alias_id, digest: Delivery.objects.filter(alias_id=alias_id, digest=digest),
    alias_id=models.BigIntegerField(),
    digest=models.CharField(),
)


def _write_all(entries: Sequence[Entry], noted: NotedSenders | None = None) -> None:
    noted = noted or NotedSenders()
    now = timezone.now()
    settled = [entry for entry in entries if isinstance(entry, Settled) and entry.alias_id]
    contacts = {
        entry.contact_id
        for entry in entries
        if isinstance(entry, Settled | Redirected) and entry.contact_id is not None
    }
    heard = _heard(entries)
    _refuse_late(entries)
    with transaction.atomic():
        for entry in entries:
            if isinstance(entry, Settled | Released | Forgotten) and not entry.alias_id:
                _write_without_alias(entry)
        with pipelined():
            limit_lock_wait(timedelta(seconds=WRITE_TIMEOUT))
            _change_rows(entries, now)
            insert_rows(_begun(entries, now))
            if not contacts:
                insert_rows(_activities(entries, now))
        if contacts:
            # After the aliases' rows, as where an alias is stripped: no deadlocks.
            present = Contact.objects.hold(contacts)
            with pipelined():
                _count_contacts(entries, now, present)
                insert_rows(_activities(entries, now, present))
                insert_rows(_reply_activities(entries, now, present))
        noted.note(heard)
        for copy in settled:
            if not copy.is_accepted:
                try:
                    note_bounce(EmailAddress.objects.get(pk=copy.destination_id), copy.status)
                except EmailAddress.DoesNotExist as error:
                    # As the database itself says it, at the end of the transaction.
                    raise IntegrityError from error
                logger.info(
                    "alias %s destination %s refused: %s", copy.alias_id, copy.destination_id, copy.status
                )
        for entry in entries:
            if isinstance(entry, Returned):
                count_returned(*entry)
            if isinstance(entry, Fault):
                transaction.on_commit(partial(note_fault, entry.what))
        _refuse_late(entries)
    noted.remember(heard)


def _heard(entries: Sequence[Entry]) -> dict[Pair, bool]:
    """Who has written to aliases that were made for other websites, and whether that is proven."""
    return {
        (entry.alias_id, entry.heard.domain): entry.heard.is_proven
        for entry in entries
        if isinstance(entry, Settled | Redirected) and entry.alias_id and entry.heard
    }


def _refuse_late(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if isinstance(entry, Begun | Redirected):
            refuse_late(entry.deadline)


def _begun(entries: Sequence[Entry], now: datetime) -> list[Delivery]:
    return [
        Delivery(
            alias_id=copies.alias_id or None,
            destination_id=destination_id or None,
            digest=copies.digest,
            moment=now,
        )
        for copies in entries
        if isinstance(copies, Begun)
        for destination_id in copies.destination_ids
    ]


def _count_contacts(entries: Sequence[Entry], now: datetime, present: Set[int]) -> None:
    """Count what came from these contacts and went to them, in the order of their keys."""
    forwards: Counter[int] = Counter()
    replies: Counter[int] = Counter()
    for entry in entries:
        match entry:
            case Replied():
                replies[entry.contact_id] += entry.is_accepted
            case Settled() if entry.contact_id is not None:
                forwards[entry.contact_id] += entry.is_accepted
            case Redirected() if entry.contact_id is not None:
                forwards[entry.contact_id] += 1
    for change, counts in ((_COUNT_CONTACT, forwards), (_COUNT_TO_CONTACT, replies)):
        change([{"key": key, "number": counts[key], "now": now} for key in sorted(present) if counts[key]])
    named = {
        entry.contact_id: entry.contact_name
        for entry in entries
        if isinstance(entry, Settled) and entry.contact_id in present and entry.contact_name
    }
    _NAME_CONTACT([{"key": key, "name": name, "before": ""} for key, name in sorted(named.items())])


def _activities(entries: Sequence[Entry], now: datetime, contacts: Set[int] = frozenset()) -> list[Activity]:
    """`contacts`: those that are still there."""
    return [
        Activity(
            alias_id=entry.alias_id,
            moment=now,
            event=Event.BOUNCE if isinstance(entry, Settled) and not entry.is_accepted else Event.FORWARD,
            sender=entry.sender,
            destination_id=entry.destination_id,
            status=entry.status[:STATUS_MAX] if isinstance(entry, Settled) else "",
            reason=entry.reason if isinstance(entry, Settled) else "",
            contact_id=entry.contact_id if entry.contact_id in contacts else None,
            caution=entry.caution if isinstance(entry, Settled) else "",
            sender_domain=entry.heard.domain if entry.heard else "",
        )
        for entry in entries
        if isinstance(entry, Settled | Redirected) and entry.alias_id
    ]


def _reply_activities(entries: Sequence[Entry], now: datetime, contacts: Set[int]) -> list[Activity]:
    return [
        Activity(
            alias_id=entry.from_alias,
            moment=now,
            event=Event.REPLY if entry.is_accepted else Event.BOUNCE,
            is_reply=True,
            contact_id=entry.contact_id if entry.contact_id in contacts else None,
            sender=entry.sender,
            status=entry.status[:STATUS_MAX],
            reason=entry.reason,
        )
        for entry in entries
        if isinstance(entry, Replied)
    ]


def _change_rows(entries: Sequence[Entry], now: datetime) -> None:
    """In the order of their keys, so that two processes do not wait for each other."""
    counts: Counter[int] = Counter()
    replies: Counter[int] = Counter()
    stale, settled, released, forgotten = [], [], [], []
    for entry in entries:
        match entry:
            case Begun():
                stale += [{"key": key} for key in entry.stale]
            case Settled() if entry.alias_id:
                counts[entry.alias_id] += entry.is_accepted
                settled.append(_copy(entry, entry.destination_id) | {"accepted": entry.is_accepted})
            case Replied():
                replies[entry.from_alias] += entry.is_accepted
            case Released() if entry.alias_id:
                released += [_copy(entry, destination_id) for destination_id in entry.destination_ids]
            case Redirected():
                counts[entry.alias_id] += 1
            case Forgotten() if entry.alias_id:
                forgotten.append({"alias_id": entry.alias_id, "digest": entry.digest})
    _COUNT([{"key": key, "number": counts[key], "now": now} for key in sorted(counts) if counts[key]])
    _COUNT_FROM_ALIAS(
        [{"key": key, "number": replies[key], "now": now} for key in sorted(replies) if replies[key]]
    )
    _RETAKE(sorted(stale, key=lambda row: row["key"]))
    _SETTLE(settled)
    _RELEASE(released)
    _FORGET(forgotten)


def _copy(entry: Settled | Released, destination_id: int) -> dict[str, Any]:
    return {"alias_id": entry.alias_id, "destination_id": destination_id, "digest": entry.digest}


def _write_without_alias(entry: Entry) -> None:
    match entry:
        case Settled():
            _deliveries(entry).update(accepted=entry.is_accepted)
        case Released():
            _deliveries(entry).filter(accepted__isnull=True).delete()
        case Forgotten():
            _deliveries(entry).delete()


class Ledger(Gatherer[Entry | Wanted, Found | None]):
    """Writes what happens to messages: all that waits, in one transaction."""

    def __init__(self) -> None:
        super().__init__("ledger", self._write, COMPANY)
        # What this process knows and could not write yet.
        self._unwritten: dict[tuple[int, int, str], Settled] = {}
        self._noted_senders = NotedSenders()

    async def write(self, entry: Entry) -> None:
        """Write the entry. Of copies that were begun, and of a message that is redirected: unless this
        returns, they may not be sent.

        Raises IntegrityError if its alias or a destination is gone, or if another process has just begun the
        same copy; TooLate; and what the database raises if it cannot be written.
        """
        await self.ask(entry, entry.deadline if isinstance(entry, Begun | Redirected) else None)

    async def contacts(self, wanted: Wanted) -> Found:
        """The wanted contacts by address; those that are missing are made, within the limits. Raises what
        the database raises if they cannot be."""
        return await self.ask(wanted) or {}

    async def settle(self, copy: Settled) -> None:
        """Write that a copy is settled, with its activity and its counter. Raises nothing: what cannot be
        written now is remembered, and written later."""
        try:
            await self.ask(copy)
        except IntegrityError:
            _log_gone(copy)
        except Exception as error:
            self._unwritten[copy.alias_id, copy.destination_id, copy.digest] = copy
            logger.warning("alias %s not settled yet: %s", copy.alias_id, type(error).__name__)

    async def release(self, copies: Released) -> None:
        """Write that these copies were not sent. If that fails, they count as underway until LEASE ends."""
        try:
            await self.ask(copies)
        except Exception as error:
            logger.warning("alias %s not released: %s", copies.alias_id, type(error).__name__)

    async def note_fault(self, what: str) -> None:
        """Note a fault of this site (mail.delivery.faults.note_fault). Raises nothing."""
        try:
            await self.ask(Fault(what))
        except Exception as error:
            logger.warning("mail fault not noted: %s", type(error).__name__)

    def unwritten_outcome(self, alias_id: int, destination_id: int, digest: str) -> bool | None:
        """Whether the copy was accepted, if this process knows it and the database does not yet; else
        None."""
        copy = self._unwritten.get((alias_id, destination_id, digest))
        return copy.is_accepted if copy else None

    async def write_unwritten(self) -> None:
        """Write the outcomes that could not be written before. Raises what the database raises; they are
        kept then."""
        if self._unwritten:
            await self.ask(RETRY)

    def _write(self, asked: Sequence[Entry | Wanted]) -> list[Found | None]:
        entries = [each for each in asked if not isinstance(each, Wanted)]
        # While an outcome cannot be written, nothing more is begun.
        if self._unwritten and any(isinstance(entry, Begun | Forgotten | Retry) for entry in entries):
            self._write_unwritten()
        # First: if the rest fails, all is asked once more, one by one, and finding contacts changes nothing.
        wanted = list(dict.fromkeys(each for each in asked if isinstance(each, Wanted)))
        found = dict(zip(wanted, contacts_for_all(wanted), strict=True))
        if entries:
            _write_all(entries, self._noted_senders)
        return [found[each] if isinstance(each, Wanted) else None for each in asked]

    def _write_unwritten(self) -> None:
        for key, copy in list(self._unwritten.items()):
            # Perhaps it was written, and the connection broke before we heard of it.
            if not _deliveries(copy).filter(accepted__isnull=False).exists():
                try:
                    _write_all([copy], self._noted_senders)
                except IntegrityError:
                    _log_gone(copy)
            self._unwritten.pop(key, None)


def _log_gone(copy: Settled) -> None:
    # It was sent, but its owner is gone.
    logger.info("alias %s or destination %s is gone", copy.alias_id, copy.destination_id)
