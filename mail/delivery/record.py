"""What is recorded about a message: that its copies are about to be sent, and the outcome of each.

Nothing is sent before that it is begun, or redirected, has been committed. `settle` then writes the next
hop's answer; if the database cannot take it, this process remembers it, and begins nothing more until it is
written.
"""

import logging
from collections import Counter
from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

from allauth.account.models import EmailAddress
from django.db import IntegrityError, models, transaction
from django.db.models import F
from django.utils import timezone

from aliases.models import Alias
from contacts.book import Found, Wanted, contacts_for_all
from contacts.models import Contact
from core.db.changes import CompiledChange, insert_rows
from core.db.locks import limit_lock_wait
from core.db.statements import pipelined
from core.db.violations import is_conflict
from core.heartbeats import Heartbeat
from core.sparing_logs import warn_sparingly
from hooks.models import is_heard
from mail.delivery.bounce import count_returned, note_bounce
from mail.delivery.database import WRITE_TIMEOUT
from mail.delivery.entries import (
    RETRY,
    Batch,
    Begun,
    Entry,
    Fault,
    Forgotten,
    Redirected,
    Released,
    Retry,
    Settled,
)
from mail.delivery.faults import note_fault
from mail.delivery.gatherer import Gatherer
from mail.delivery.proposals import Proposal, Weighed, weigh
from mail.delivery.rule_rows import COUNT_RULES
from mail.delivery.senders import NotedSenders
from mail.delivery.settled import remember_ended
from mail.delivery.tallies import MESSAGES
from mail.delivery.telling import tell_of_failure
from mail.models import STATUS_MAX, Activity, Delivery, Event

logger = logging.getLogger(__name__)

# How long a copy that was begun counts as underway, in any process. After that, the process that began
# it must be gone, and nobody knows whether it was sent: it is sent again, so that none is lost.
LEASE = timedelta(seconds=30)
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
_SETTLE_WITHOUT_ALIAS = CompiledChange(
    lambda digest, accepted: Delivery.objects.filter(alias=None, destination=None, digest=digest),
    lambda digest, accepted: {"accepted": accepted},
    digest=models.CharField(),
    accepted=models.BooleanField(),
)
_RELEASE_WITHOUT_ALIAS = CompiledChange(
    lambda digest: Delivery.objects.filter(alias=None, accepted__isnull=True, digest=digest),
    digest=models.CharField(),
)
_FORGET_WITHOUT_ALIAS = CompiledChange(
    lambda digest: Delivery.objects.filter(alias=None, digest=digest), digest=models.CharField()
)
_FORGET = CompiledChange(
    lambda alias_id, digest: Delivery.objects.filter(alias_id=alias_id, digest=digest),
    alias_id=models.BigIntegerField(),
    digest=models.CharField(),
)


def _write_all(entries: Sequence[Entry], noted: NotedSenders | None = None) -> None:
    noted = noted or NotedSenders()
    now = timezone.now()
    batch = Batch(entries)
    contacts, heard = batch.contacts, batch.heard
    batch.refuse_late()
    with transaction.atomic():
        with pipelined():
            limit_lock_wait(timedelta(seconds=WRITE_TIMEOUT))
            _change_rows(batch, now)
            insert_rows(Delivery, _DELIVERY, _begun(batch, now))
            if not contacts:
                insert_rows(Activity, _ACTIVITY, _activities(batch, now))
        if contacts:
            # After the aliases' rows, as where an alias is stripped: no deadlocks.
            present = Contact.objects.hold(contacts)
            with pipelined():
                _count_contacts(batch, now, present)
                insert_rows(Activity, _ACTIVITY, _activities(batch, now, present))
                insert_rows(Activity, _REPLY_ACTIVITY, _reply_activities(batch, now, present))
        noted.note(heard)
        for copy in batch.settled:
            if not copy.is_accepted:
                try:
                    refusing = EmailAddress.objects.annotate(is_heard=is_heard("user")).get(
                        pk=copy.destination_id
                    )
                except EmailAddress.DoesNotExist as error:
                    # As the database itself says it, at the end of the transaction.
                    raise IntegrityError from error
                note_bounce(refusing, copy.status)
                if refusing.is_heard:
                    tell_of_failure(copy.alias_id, refusing.pk, copy.status)
                logger.info(
                    "alias %s destination %s refused: %s", copy.alias_id, copy.destination_id, copy.status
                )
        COUNT_RULES(
            [{"key": key, "number": number, "now": now} for key, number in sorted(batch.rules.items())]
        )
        if batch.disabled:
            Alias.objects.disable_all(sorted({each.alias_id for each in batch.disabled}))
            remember_ended(batch.disabled)
        for returned in batch.returned:
            count_returned(*returned)
        for fault in batch.faults:
            transaction.on_commit(partial(note_fault, fault.what))
        for process in batch.alive:
            write = Heartbeat.objects.end if process.is_stopping else Heartbeat.objects.leave
            write(Heartbeat.Kind.MAIL, process.name)
        batch.refuse_late()
    noted.remember(heard)
    _count_for_monitoring(batch)


def _count_for_monitoring(batch: Batch) -> None:
    forwards, replies = (sum(each.is_accepted for each in kind) for kind in (batch.forwards, batch.replied))
    bounces = len(batch.forwards) + len(batch.replied) - forwards - replies
    for event, number in ((_FORWARD, forwards), (_REPLY, replies), (_BOUNCE, bounces)):
        if number:
            MESSAGES.add(event, number=number)


# The columns of what is inserted.
_DELIVERY = ("alias_id", "destination_id", "digest", "moment")
_ACTIVITY = (
    *("alias_id", "moment", "event", "sender", "destination_id", "status", "reason", "contact_id"),
    *("caution", "sender_domain"),
)
_REPLY_ACTIVITY = ("alias_id", "moment", "event", "is_reply", "contact_id", "sender", "status", "reason")
_FORWARD, _REPLY, _BOUNCE = (event.value for event in (Event.FORWARD, Event.REPLY, Event.BOUNCE))
Row = tuple[Any, ...]


def _begun(batch: Batch, now: datetime) -> list[Row]:
    return [
        (copies.alias_id or None, destination_id or None, copies.digest, now)
        for copies in batch.begun
        for destination_id in copies.destination_ids
    ]


def _count_contacts(batch: Batch, now: datetime, present: Set[int]) -> None:
    """Count what came from these contacts and went to them, in the order of their keys."""
    forwards: Counter[int] = Counter()
    replies: Counter[int] = Counter()
    for reply in batch.replied:
        replies[reply.contact_id] += reply.is_accepted
    for entry in batch.forwards:
        if entry.contact_id is not None:
            forwards[entry.contact_id] += entry.is_accepted
    for change, counts in ((_COUNT_CONTACT, forwards), (_COUNT_TO_CONTACT, replies)):
        change([{"key": key, "number": counts[key], "now": now} for key in sorted(present) if counts[key]])
    named = {
        entry.contact_id: entry.contact_name
        for entry in batch.settled
        if entry.contact_id in present and entry.contact_name
    }
    _NAME_CONTACT([{"key": key, "name": name, "before": ""} for key, name in sorted(named.items())])


def _activities(batch: Batch, now: datetime, contacts: Set[int] = frozenset()) -> list[Row]:
    """`contacts`: those that are still there."""
    rows = []
    for entry in batch.forwards:
        contact_id = entry.contact_id if entry.contact_id in contacts else None
        event, status, reason, caution = _FORWARD, "", "", ""
        if isinstance(entry, Settled):
            status, reason, caution = entry.status[:STATUS_MAX], entry.reason, entry.caution
            event = _BOUNCE if status else _FORWARD
        heard = entry.heard.domain if entry.heard else ""
        made = (entry.alias_id, now, event, entry.sender, entry.destination_id)
        rows.append((*made, status, reason, contact_id, caution, heard))
    return rows


def _reply_activities(batch: Batch, now: datetime, contacts: Set[int]) -> list[Row]:
    return [
        (
            entry.from_alias,
            now,
            _REPLY if entry.is_accepted else _BOUNCE,
            True,
            entry.contact_id if entry.contact_id in contacts else None,
            entry.sender,
            entry.status[:STATUS_MAX],
            entry.reason,
        )
        for entry in batch.replied
    ]


def _change_rows(batch: Batch, now: datetime) -> None:
    """In the order of their keys, so that two processes do not wait for each other."""
    counts: Counter[int] = Counter()
    replies: Counter[int] = Counter()
    for entry in batch.forwards:
        counts[entry.alias_id] += entry.is_accepted
    for reply in batch.replied:
        replies[reply.from_alias] += reply.is_accepted
    for change, numbers in ((_COUNT, counts), (_COUNT_FROM_ALIAS, replies)):
        change([{"key": key, "number": numbers[key], "now": now} for key in sorted(numbers) if numbers[key]])
    _RETAKE([{"key": key} for key in sorted(key for copies in batch.begun for key in copies.stale)])
    _SETTLE([_copy(each, each.destination_id) | {"accepted": each.is_accepted} for each in batch.settled])
    _RELEASE([_copy(each, key) for each in batch.released for key in each.destination_ids])
    _FORGET([{"alias_id": each.alias_id, "digest": each.digest} for each in batch.forgotten])
    for each in batch.without_alias:
        match each:
            case Settled():
                _SETTLE_WITHOUT_ALIAS([{"digest": each.digest, "accepted": each.is_accepted}])
            case Released():
                _RELEASE_WITHOUT_ALIAS([{"digest": each.digest}])
            case Forgotten():
                _FORGET_WITHOUT_ALIAS([{"digest": each.digest}])


def _copy(entry: Settled | Released, destination_id: int) -> dict[str, Any]:
    return {"alias_id": entry.alias_id, "destination_id": destination_id, "digest": entry.digest}


class Ledger(Gatherer[Entry | Wanted | Proposal, Found | Weighed | None]):
    """Writes what happens to messages: all that waits, in one transaction."""

    def __init__(self) -> None:
        super().__init__("ledger", self._write, COMPANY)
        # What this process knows and could not write yet.
        self._unwritten: dict[tuple[int, int, str], Settled] = {}
        # Of what the thread is about to write: those whose time ran out meanwhile, and that it has written as
        # such.
        self._overtaken: dict[int, Settled] = {}
        self._noted_senders = NotedSenders()

    async def write(self, entry: Entry) -> None:
        """Write the entry. Of copies that were begun, and of a message that is redirected: unless this
        returns, they may not be sent.

        Raises IntegrityError if its alias or a destination is gone, or if another process has just begun the
        same copy; TooLate; and what the database raises if it cannot be written.
        """
        await self.ask(entry, entry.deadline if isinstance(entry, Begun | Redirected) else None)

    async def propose(self, proposal: Proposal, deadline: float) -> Weighed:
        """Answer the proposal's question, and write what it says. Raises as `write` does."""
        weighed = await self.ask(proposal, deadline)
        return cast(Weighed, weighed)

    async def contacts(self, wanted: Wanted) -> Found:
        """The wanted contacts by address; those that are missing are made, within the limits. Raises what
        the database raises if they cannot be."""
        return cast(Found, await self.ask(wanted) or {})

    async def settle(self, copy: Settled) -> None:
        """Write that a copy is settled, with its activity and its counter. Raises nothing: what cannot be
        written now is remembered, and written later."""
        try:
            await self.ask(copy)
        except Exception as error:
            if isinstance(error, IntegrityError) and is_conflict(error):
                _log_gone(copy)
                return
            self._unwritten[copy.alias_id, copy.destination_id, copy.digest] = copy
            warn_sparingly(logger, "alias %s not settled yet: %s", copy.alias_id, type(error).__name__)

    async def release(self, copies: Released) -> None:
        """Write that these copies were not sent. If that fails, they count as underway until LEASE ends."""
        try:
            await self.ask(copies)
        except Exception as error:
            warn_sparingly(logger, "alias %s not released: %s", copies.alias_id, type(error).__name__)

    async def note_fault(self, what: str) -> None:
        """Note a fault of this site (mail.delivery.faults.note_fault). Raises nothing."""
        try:
            await self.ask(Fault(what))
        except Exception as error:
            warn_sparingly(logger, "mail fault not noted: %s", type(error).__name__)

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

    def _write(self, asked: Sequence[Entry | Wanted | Proposal]) -> list[Found | Weighed | None]:
        proposals = [each for each in asked if isinstance(each, Proposal)]
        weighed = dict(zip(proposals, weigh(proposals), strict=True)) if proposals else {}
        entries = [each for each in asked if not isinstance(each, Wanted | Proposal)]
        entries += [each.entry for each in weighed.values() if each.entry is not None]
        # While an outcome cannot be written, nothing more is begun.
        if self._unwritten and any(isinstance(entry, Begun | Forgotten | Retry) for entry in entries):
            self._write_unwritten()
        # Or they would be counted twice: now, or when all of this is tried again.
        entries = [entry for entry in entries if id(entry) not in self._overtaken]
        # First: if the rest fails, all is asked once more, one by one, and finding contacts changes nothing.
        wanted = list(dict.fromkeys(each for each in asked if isinstance(each, Wanted)))
        found = dict(zip(wanted, contacts_for_all(wanted), strict=True))
        if entries:
            _write_all(entries, self._noted_senders)
        self._overtaken.clear()
        answers: dict[Any, Found | Weighed] = {**found, **weighed}
        return [answers[each] if isinstance(each, Wanted | Proposal) else None for each in asked]

    def _write_unwritten(self) -> None:
        for key, copy in list(self._unwritten.items()):
            # Perhaps it was written, and the connection broke before we heard of it.
            if not _deliveries(copy).filter(accepted__isnull=False).exists():
                try:
                    _write_all([copy], self._noted_senders)
                except IntegrityError as error:
                    if not is_conflict(error):
                        raise
                    _log_gone(copy)
            self._overtaken[id(copy)] = copy
            self._unwritten.pop(key, None)


def _log_gone(copy: Settled) -> None:
    # It was sent, but its owner is gone.
    logger.info("alias %s or destination %s is gone", copy.alias_id, copy.destination_id)
