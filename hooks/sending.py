"""Taking messages that are due, sending them, and recording what became of each."""

import logging
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from core.outgoing import OutgoingError, request
from core.ratelimit import Limit, count_within
from core.sealing import CannotUnseal
from hooks.models import Hook, HookMessage, HookMessageQuerySet, HookQuerySet, Stopped
from hooks.signing import signed_headers
from hooks.tallies import MESSAGES, REQUEST_TIMES

logger = logging.getLogger(__name__)

# How long to wait after each failed try: about a day in all, after which the message is dead. The tries are
# counted, because the clock may be wrong.
WAITS = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 60, 300, 1800, 3600, 2 * 3600, 4 * 3600, 6 * 3600, 10 * 3600)
)
# Each wait is longer by up to this share of it, so that not all come back to a server at once.
JITTER_PERCENT = 10
# Seconds that a try may take, and octets that are read of what it is answered.
SECONDS = 10
OCTETS_MAX = 1024
# How long a message that was taken is left to the one that took it. After that, it must be gone, and nobody
# knows whether the message was sent: it is sent again, with the same id.
LEASE = timedelta(seconds=60)
# A message that is due later than any wait was given its time by a wrong clock.
DUE_MAX = WAITS[-1] * 2
PER_MINUTE = 60  # messages to one hook
_MINUTE = timedelta(minutes=1)
# Rows that are looked at for those to take.
LOOKED_AT = 200

# The answer that nobody will ever take a message there (Standard Webhooks asks senders to heed it).
GONE = 410


@dataclass(frozen=True)
class Outcome:
    """What a try has led to: the status that was answered, or the problem for which there was none."""

    status: int | None
    problem: str = ""

    @property
    def is_delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def due(now: datetime) -> HookMessageQuerySet:
    """The messages that can be sent now, those that have waited longest first."""
    return (
        HookMessage.objects.waiting()
        .filter(Q(due_at__lte=now) | Q(due_at__gt=now + DUE_MAX))
        .filter(Q(hook__owner=None) | Q(hook__owner__is_active=True), hook__stopped_at=None)
        .order_by("due_at", "pk")
    )


def take(number: int, busy: Collection[int] = ()) -> list[HookMessage]:
    """Up to this number of messages that are due, of a hook each, but none for the hooks that are `busy`.

    They count as sent by this process until LEASE is over: no other one takes them meanwhile.
    """
    free = due(timezone.now()).exclude(hook__in=busy)
    # Most of the time there is nothing, which SQLite should not be locked for.
    if not number or not free.exists():
        return []
    return _take(free, number)


@transaction.atomic
def _take(free: HookMessageQuerySet, number: int) -> list[HookMessage]:
    rows = free.select_related("hook").select_for_update(of=("self",), skip_locked=True)[:LOOKED_AT]
    first: dict[int, HookMessage] = {}
    for message in rows:
        first.setdefault(message.hook_id, message)
    now = timezone.now()
    taken = []
    # In the order of their keys, so that two processes do not wait for each other's counters.
    for hook_id, message in sorted(first.items())[:number]:
        if count_within(Limit("hook-messages", PER_MINUTE, _MINUTE), hook_id):
            message.attempts += 1
            taken.append(message)
        else:
            HookMessage.objects.waiting().filter(hook=hook_id, due_at__lte=now).update(due_at=now + _MINUTE)
    HookMessage.objects.filter(pk__in=[each.pk for each in taken]).update(
        attempts=F("attempts") + 1, tried_at=now, due_at=now + LEASE
    )
    return taken


def send(message: HookMessage) -> Outcome:
    """Send it once. Raises nothing for what the other server does."""
    body, now = message.body.encode(), timezone.now()
    started = time.monotonic()
    try:
        headers = signed_headers(message.webhook_id, now, body, message.hook.secrets(now))
        answer = request(
            message.hook.url,
            method="POST",
            body=body,
            headers={"Content-Type": "application/json", **headers},
            octets_max=OCTETS_MAX,
            seconds=SECONDS,
            allows_private=settings.WEBHOOK_PRIVATE_NETWORKS,
            authorities=settings.WEBHOOK_CA,
        )
        outcome = Outcome(answer.status)
    except CannotUnseal:
        outcome = Outcome(None, "secret")
    except OutgoingError as error:
        outcome = Outcome(None, error.reason[:40])
    REQUEST_TIMES.observe(time.monotonic() - started, "delivered" if outcome.is_delivered else "failed")
    return outcome


@transaction.atomic
def record(message: HookMessage, outcome: Outcome) -> bool:
    """Write what became of a message that was taken. Whether its hook was stopped because of it.

    Does nothing if the message is gone, or was taken by another process since.
    """
    row = (
        HookMessage.objects.select_for_update()
        .filter(pk=message.pk, attempts=message.attempts)
        .waiting()
        .first()
    )
    if row is None:
        return False
    row.status, row.problem = outcome.status, outcome.problem
    because = None
    if outcome.is_delivered:
        row.state = HookMessage.State.DELIVERED
        result = "delivered"
    elif outcome.status == GONE or row.attempts > len(WAITS):
        row.state = HookMessage.State.DEAD
        because = Stopped.GONE if outcome.status == GONE else Stopped.FAILED
        result = "dead"
    else:
        wait = WAITS[max(row.attempts, 1) - 1]
        row.due_at = timezone.now() + wait * (1 + secrets.randbelow(JITTER_PERCENT + 1) / 100)
        result = "failed"
    row.save(update_fields=["status", "problem", "state", "due_at"])
    if because is not None:
        message.hook.stop(because)
        logger.warning("hook %s is stopped: %s", message.hook_id, because)
    transaction.on_commit(lambda: MESSAGES.add(result))
    return because is not None


def prune() -> int:
    """Delete messages that are over; how many."""
    deleted, _rows = HookMessage.objects.all().old().delete()
    return deleted


def stopped_by_us() -> HookQuerySet:
    """The hooks that were stopped, and not by their owners."""
    return Hook.objects.filter(stopped_at__isnull=False).exclude(stopped_because=Stopped.OWNER)
