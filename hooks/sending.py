"""Taking messages that are due, sending them, and recording what became of each."""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from core.outgoing import OutgoingError, request
from core.ratelimit import Limit, count_within
from core.sealing import CannotUnseal
from hooks.models import WAITING_MAX, Hook, HookMessage, HookMessageQuerySet, HookQuerySet, Stopped
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
SECONDS = 10  # that a try may take
# How long a message that was taken is left to the one that took it. After that, it must be gone, and nobody
# knows whether the message was sent: it is sent again, with the same id.
LEASE = timedelta(seconds=60)
# A message that is due later than any wait was given its time by a wrong clock.
DUE_MAX = WAITS[-1] * 2
PER_MINUTE = 60  # messages to one hook
_MINUTE = timedelta(minutes=1)
# Rows that are looked at for those to take.
LOOKED_AT = 200
# Messages to hooks of one person that a process sends at once: a person's servers may all be slow.
PER_OWNER = 2
# For how long the other messages to a hook wait after one that nobody answered, at most: it may be this
# message that the server cannot bear.
REST_MAX = timedelta(minutes=5)

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


def take(
    number: int, busy: Mapping[int, int | None] | None = None, had: Collection[int] = ()
) -> list[HookMessage]:
    """Up to this number of messages that are due, of a hook each, those that have waited longest first.

    `busy`: the hooks to which this process is sending, with their owners: none of these, and PER_OWNER of a
    person's in all. `had`: hooks that have had their turn. The messages count as sent by this process until
    LEASE is over: no other one takes them meanwhile.
    """
    busy = busy or {}
    owners = Counter(owner for owner in busy.values() if owner is not None)
    full = [owner for owner, hooks in owners.items() if hooks >= PER_OWNER]
    now = timezone.now()
    free = due(now).exclude(hook__in=[*busy, *had]).exclude(hook__owner__in=full)
    # Most of the time there is nothing, which SQLite should not be locked for.
    if not number or not free.exists():
        return []
    chosen: dict[int, int] = {}
    for hook, owner, message in free.values_list("hook", "hook__owner", "pk")[:LOOKED_AT]:
        if len(chosen) < number and hook not in chosen and (owner is None or owners[owner] < PER_OWNER):
            chosen[hook] = message
            owners[owner] += 1
    return _take(list(chosen.values()), now)


@transaction.atomic
def _take(chosen: Collection[int], now: datetime) -> list[HookMessage]:
    """Those of these messages that no other process has taken meanwhile, and whose hook may get one now.

    Locks no others: two processes that did could wait for each other.
    """
    rows = due(now).filter(pk__in=chosen).select_related("hook")
    # In the order of their hooks, so that two processes do not wait for each other's counters.
    taken = []
    for message in rows.order_by("hook_id").select_for_update(of=("self",), skip_locked=True):
        if count_within(Limit("hook-messages", PER_MINUTE, _MINUTE), message.hook_id):
            message.attempts += 1
            taken.append(message)
        else:
            put_off(message.hook_id, now + _MINUTE)
    HookMessage.objects.filter(pk__in=[each.pk for each in taken]).update(
        attempts=F("attempts") + 1, tried_at=now, due_at=now + LEASE
    )
    return taken


def put_off(hook_id: int, until: datetime) -> None:
    """Let what is due to this hook before `until` wait until then.

    Leaves out rows that another process has locked, so that two do not wait for each other.
    """
    waiting = HookMessage.objects.waiting().filter(hook=hook_id, due_at__lt=until)
    free = waiting.order_by().select_for_update(skip_locked=True).values_list("pk", flat=True)
    waiting.filter(pk__in=list(free[:WAITING_MAX])).update(due_at=until)


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
            octets_max=0,
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
        now = timezone.now()
        row.due_at = now + wait * (1 + secrets.randbelow(JITTER_PERCENT + 1) / 100)
        result = "failed"
        if outcome.status is None:
            # Each of the others would take a thread for SECONDS, too.
            put_off(row.hook_id, min(row.due_at, now + REST_MAX))
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
