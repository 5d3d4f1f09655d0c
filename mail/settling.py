"""Writing what became of a message: once, in one transaction, whatever happens to the database."""

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from allauth.account.models import EmailAddress
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from aliases.models import Alias
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


@transaction.atomic
def _settle_all(copies: Sequence[Settled]) -> None:
    now = timezone.now()
    forwards: dict[int, int] = defaultdict(int)
    for copy in copies:
        if copy.is_accepted:
            forwards[copy.alias_id] += 1
    if len(forwards) > 1:
        # In one order, so that two processes do not wait for each other.
        list(Alias.objects.filter(pk__in=forwards).order_by("pk").select_for_update(no_key=True).values("pk"))
    for number in set(forwards.values()):
        keys = [key for key, count in forwards.items() if count == number]
        Alias.objects.filter(pk__in=keys).update(forwards=F("forwards") + number, active_at=now)
    Delivery.objects.bulk_create(
        Delivery(
            alias_id=copy.alias_id,
            destination_id=copy.destination_id,
            digest=copy.digest,
            accepted=copy.is_accepted,
            moment=now,
        )
        for copy in copies
    )
    Activity.objects.bulk_create(
        Activity(
            alias_id=copy.alias_id,
            moment=now,
            deed=Deed.FORWARD if copy.is_accepted else Deed.BOUNCE,
            sender=copy.sender,
            destination_id=copy.destination_id,
        )
        for copy in copies
    )
    for copy in copies:
        if not copy.is_accepted:
            note_bounce(EmailAddress.objects.get(pk=copy.destination_id), copy.status)
            logger.info(
                "alias %s destination %s refused: %s", copy.alias_id, copy.destination_id, copy.status
            )


def _forget_all(messages: Sequence[tuple[int, str]]) -> None:
    either = (Q(alias=alias_id, digest=digest) for alias_id, digest in messages)
    Delivery.objects.filter(reduce(or_, either)).delete()


_settling = Batcher(_settle_all)
_forgetting = Batcher(_forget_all)


def forget(alias_id: int, digest: str) -> None:
    """Recognise the message no more: whoever handed it over knows what became of it."""
    _forgetting.write((alias_id, digest))
