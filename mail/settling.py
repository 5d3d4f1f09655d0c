"""Writing what became of a message: once, in one transaction, whatever happens to the database."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.db import IntegrityError, InterfaceError, OperationalError, connection, models, transaction
from django.db.models import F
from django.utils import timezone

from aliases.models import Alias
from core.prepared import PreparedChange, insert_rows, pipelined
from mail.models import Activity, Deed, Delivery, note_bounce
from mail.work import Batcher

logger = logging.getLogger(__name__)

# Seconds for which a database that went away is waited for: the next hop has the message already, and
# until this is written, it would get it again.
PATIENCE = 60.0
PAUSE = 0.25


@dataclass(frozen=True)
class Settled:
    """One copy that the next hop has taken, or refused for good with this status (RFC 3463)."""

    alias_id: int
    destination_id: int
    digest: str
    status: str  # "" where it was accepted
    sender: str

    @property
    def is_accepted(self) -> bool:
        return not self.status


def settle(copy: Settled) -> None:
    """Write that a copy is settled, with its activity and its counter; together with others' copies.

    A database that goes away meanwhile is waited for. Raises OperationalError when that takes too
    long, IntegrityError where the alias or the destination is gone.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _settling.write(copy)
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if time.monotonic() > deadline:
                raise
            logger.warning("alias %s not settled yet: %s", copy.alias_id, type(error).__name__)
            time.sleep(PAUSE)
        except IntegrityError:
            # Written before the connection broke, and we never heard of it?
            if not _is_written(copy):
                raise
            return None


def _is_written(copy: Settled) -> bool:
    return Delivery.objects.filter(
        alias=copy.alias_id, destination=copy.destination_id, digest=copy.digest
    ).exists()


_COUNT = PreparedChange(
    lambda key, number, now: Alias.objects.filter(pk=key),
    lambda key, number, now: {"forwards": F("forwards") + number, "active_at": now},
    key=models.BigIntegerField(),
    number=models.IntegerField(),
    now=models.DateTimeField(),
)
_FORGET = PreparedChange(
    lambda alias_id, digest: Delivery.objects.filter(alias_id=alias_id, digest=digest),
    alias_id=models.BigIntegerField(),
    digest=models.CharField(),
)


def _settle_all(copies: Sequence[Settled]) -> None:
    now = timezone.now()
    forwards = Counter(copy.alias_id for copy in copies if copy.is_accepted)
    deliveries = [
        Delivery(
            alias_id=copy.alias_id,
            destination_id=copy.destination_id,
            digest=copy.digest,
            accepted=copy.is_accepted,
            moment=now,
        )
        for copy in copies
    ]
    activities = [
        Activity(
            alias_id=copy.alias_id,
            moment=now,
            deed=Deed.FORWARD if copy.is_accepted else Deed.BOUNCE,
            sender=copy.sender,
            destination_id=copy.destination_id,
        )
        for copy in copies
    ]
    with transaction.atomic():
        with pipelined():
            # In the order of their keys, so that two processes do not wait for each other.
            _COUNT([{"key": key, "number": forwards[key], "now": now} for key in sorted(forwards)])
            insert_rows(deliveries)
            insert_rows(activities)
        for copy in copies:
            if not copy.is_accepted:
                _note_refusal(copy)


def _note_refusal(copy: Settled) -> None:
    destination = EmailAddress.objects.get(pk=copy.destination_id)
    note_bounce(destination, copy.status)
    logger.info("alias %s destination %s refused: %s", copy.alias_id, destination.pk, copy.status)


def _forget_all(messages: Sequence[tuple[int, str]]) -> None:
    _FORGET([{"alias_id": alias_id, "digest": digest} for alias_id, digest in messages])


_settling = Batcher(_settle_all)
_forgetting = Batcher(_forget_all)


def forget(alias_id: int, digest: str) -> None:
    """Recognise the message no more: whoever handed it over knows what became of it."""
    _forgetting.write((alias_id, digest))
