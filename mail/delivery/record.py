"""What is recorded about a message: that its copies are about to be sent, and the outcome of each.

Nothing is sent before `begin` or `redirect` has committed. `settle` then writes the next hop's answer; if
the database cannot take it, this process remembers it, and begins nothing more until it is written.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from allauth.account.models import EmailAddress
from django.db import IntegrityError, OperationalError, connection, models, transaction
from django.db.models import F
from django.utils import timezone

from aliases.models import Alias
from core.batch_writer import BatchWriter
from core.db.compiled import CompiledChange, insert_rows
from core.db.locks import limit_lock_wait
from core.db.statements import pipelined
from mail.delivery.bounce import note_bounce
from mail.delivery.database import UNAVAILABLE, WRITE_TIMEOUT, TooLate, is_locked, refuse_late
from mail.delivery.gatherer import PAUSE, Gatherer
from mail.models import Activity, Delivery, Event

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


@dataclass(frozen=True)
class Settled:
    """One copy that the next hop has taken, or refused for good with this status (RFC 3463)."""

    alias_id: int
    destination_id: int
    digest: str
    status: str  # "" if it was accepted
    sender: str
    reason: str = ""  # why it was refused, in one line

    @property
    def is_accepted(self) -> bool:
        return not self.status


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
    deadline: float | None = None


Entry = Begun | Settled | Released | Forgotten | Redirected


class _Unwritten:
    """The outcomes that this process knows and could not write yet."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[int, int, str], Settled] = {}
        self._writing = threading.Lock()

    def write(self) -> None:
        """Write them all. Raises what the database raises; OperationalError while another thread tries."""
        if not self.outcomes:
            return
        if not self._writing.acquire(timeout=WRITE_TIMEOUT):
            raise OperationalError("another thread writes what was sent")
        try:
            for key, copy in list(self.outcomes.items()):
                # Perhaps it was written, and the connection broke before we heard of it.
                if not _deliveries(copy).filter(accepted__isnull=False).exists():
                    _write_outcome(copy)
                self.outcomes.pop(key, None)
        finally:
            self._writing.release()


_unwritten = _Unwritten()


def begin(copies: Begun) -> None:
    """Write that these copies are about to be sent: unless this returns, none of them may be.

    Raises IntegrityError if another process has just begun one of them, or the alias or a destination
    is gone; and what the database raises if it cannot be written.
    """
    _unwritten.write()
    _write(copies)


def settle(copy: Settled) -> None:
    """Write that a copy is settled, with its activity and its counter. Raises nothing: what cannot be
    written now is remembered, and written later."""
    try:
        _write_outcome(copy)
    except Exception as error:
        _unwritten.outcomes[copy.alias_id, copy.destination_id, copy.digest] = copy
        logger.warning("alias %s not settled yet: %s", copy.alias_id, type(error).__name__)


def release(copies: Released) -> None:
    """Write that these copies were not sent. If that fails, they count as underway until LEASE ends."""
    try:
        _write(copies)
    except Exception as error:
        logger.warning("alias %s not released: %s", copies.alias_id, type(error).__name__)


def forget(alias_id: int, digest: str) -> None:
    """No longer recognise the message: its sender knows what became of it."""
    _unwritten.write()
    _write(Forgotten(alias_id, digest))


def unwritten_outcome(alias_id: int, destination_id: int, digest: str) -> bool | None:
    """Whether the copy was accepted, if this process knows it and the database does not yet; else None."""
    copy = _unwritten.outcomes.get((alias_id, destination_id, digest))
    return copy.is_accepted if copy else None


def has_unwritten() -> bool:
    """Whether there are outcomes that could not be written yet."""
    return bool(_unwritten.outcomes)


def write_unwritten(deadline: float | None = None) -> None:
    """Write them now. Raises what the database raises; they are kept then."""
    _unwritten.write()


def _write_outcome(copy: Settled) -> None:
    try:
        _write(copy)
    except IntegrityError:
        # It was sent, but its owner is gone.
        logger.info("alias %s or destination %s is gone", copy.alias_id, copy.destination_id)


def _write(entry: Entry) -> None:
    """Write it together with other threads' entries; wait a little if the database is locked."""
    deadline = time.monotonic() + WRITE_TIMEOUT
    while True:
        try:
            return _ledger.write(entry)
        except OperationalError as error:
            if not is_locked(error):
                connection.close()
            if not is_locked(error) or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)


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


def _write_all(entries: Sequence[Entry]) -> None:
    now = timezone.now()
    begun = [entry for entry in entries if isinstance(entry, Begun)]
    settled = [entry for entry in entries if isinstance(entry, Settled) and entry.alias_id]
    redirected = [entry for entry in entries if isinstance(entry, Redirected)]
    _refuse_late(redirected)
    with transaction.atomic():
        for entry in entries:
            if not entry.alias_id:
                _write_without_alias(entry)
        with pipelined():
            limit_lock_wait(timedelta(seconds=WRITE_TIMEOUT))
            _change_rows(entries, now)
            insert_rows(
                [
                    Delivery(
                        alias_id=copies.alias_id or None,
                        destination_id=destination_id or None,
                        digest=copies.digest,
                        moment=now,
                    )
                    for copies in begun
                    for destination_id in copies.destination_ids
                ]
            )
            insert_rows(
                [
                    Activity(
                        alias_id=copy.alias_id,
                        moment=now,
                        event=Event.FORWARD if copy.is_accepted else Event.BOUNCE,
                        sender=copy.sender,
                        destination_id=copy.destination_id,
                        reason=copy.reason,
                    )
                    for copy in settled
                ]
                + [
                    Activity(
                        alias_id=message.alias_id,
                        moment=now,
                        event=Event.FORWARD,
                        sender=message.sender,
                        destination_id=message.destination_id,
                    )
                    for message in redirected
                ]
            )
        for copy in settled:
            if not copy.is_accepted:
                note_bounce(EmailAddress.objects.get(pk=copy.destination_id), copy.status)
                logger.info(
                    "alias %s destination %s refused: %s", copy.alias_id, copy.destination_id, copy.status
                )
        _refuse_late(redirected)


def _refuse_late(messages: Sequence[Redirected]) -> None:
    for message in messages:
        refuse_late(message.deadline)


def _change_rows(entries: Sequence[Entry], now: datetime) -> None:
    """In the order of their keys, so that two processes do not wait for each other."""
    counts: Counter[int] = Counter()
    stale, settled, released, forgotten = [], [], [], []
    for entry in entries:
        match entry:
            case Begun():
                stale += [{"key": key} for key in entry.stale]
            case Settled() if entry.alias_id:
                counts[entry.alias_id] += entry.is_accepted
                settled.append(_copy(entry, entry.destination_id) | {"accepted": entry.is_accepted})
            case Released() if entry.alias_id:
                released += [_copy(entry, destination_id) for destination_id in entry.destination_ids]
            case Redirected():
                counts[entry.alias_id] += 1
            case Forgotten() if entry.alias_id:
                forgotten.append({"alias_id": entry.alias_id, "digest": entry.digest})
    _COUNT([{"key": key, "number": counts[key], "now": now} for key in sorted(counts) if counts[key]])
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


def _is_common(error: Exception) -> bool:
    return isinstance(error, UNAVAILABLE) and not isinstance(error, TooLate)


_ledger = BatchWriter(_write_all, is_common=_is_common)


# Seconds that a commit waits for others that are about to be written.
COMPANY = 0.005


class Ledger(Gatherer[Entry, None]):
    """Writes entries, all that wait in one transaction."""

    def __init__(self) -> None:
        super().__init__("ledger", self._write, COMPANY)

    async def write(self, entry: Entry, deadline: float | None = None) -> None:
        """Write the entry. Raises IntegrityError if its alias or its destination is gone; TooLate; what the
        database raises if it cannot be written."""
        await self.ask(entry, deadline)

    @staticmethod
    def _write(entries: Sequence[Entry]) -> list[None]:
        _write_all(entries)
        return [None] * len(entries)
