"""Taking messages that are due, sending them, and recording what became of each."""

import logging
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, OuterRef, Subquery
from django.utils import timezone

from core.outgoing import OutgoingError, request
from core.ratelimit import Limit, count_within
from core.sealing import CannotUnseal
from hooks.models import WAITING_MAX, WAITS, Hook, HookMessage, HookQuerySet, Stopped
from hooks.outcomes import SECONDS
from hooks.signing import signed_headers
from hooks.tallies import MESSAGES, REQUEST_TIMES
from hooks.turns import Turns

logger = logging.getLogger(__name__)

# Each wait is longer by up to this share of it, so that not all come back to a server at once.
JITTER_PERCENT = 10
# How long a message that was taken is left to the one that took it. After that, it must be gone, and nobody
# knows whether the message was sent: it is sent again, with the same id.
LEASE = timedelta(seconds=60)
PER_MINUTE = 60  # messages to one hook
_MINUTE = timedelta(minutes=1)
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


def take(
    number: int, busy: Mapping[int, int | None] | None = None, turns: Turns | None = None
) -> list[HookMessage]:
    """Up to this number of messages that are due, of a hook each (`busy` and `turns`: hooks.turns).

    They count as sent by this process until LEASE is over: no other one takes them meanwhile.
    """
    hooks = (turns or Turns()).take(number, busy or {})
    return take_of(hooks) if hooks else []


@transaction.atomic
def take_of(hooks: Collection[int]) -> list[HookMessage]:
    """The message that has been due longest to each of these hooks.

    None if another process takes it, or the hook has had as many as one gets in a minute.
    """
    now, due = timezone.now(), HookMessage.objects.due()
    longest = due.filter(hook=OuterRef("pk")).order_by("due_at", "pk").values("pk")[:1]
    keys = Hook.objects.filter(pk__in=hooks).values_list(Subquery(longest), flat=True)
    # Locks no others, and in the order of the hooks: two processes could wait for each other's messages, or
    # counters.
    rows = due.filter(pk__in=[key for key in keys if key]).select_related("hook").order_by("hook_id")
    taken = []
    for message in rows.select_for_update(of=("self",), skip_locked=True):
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
