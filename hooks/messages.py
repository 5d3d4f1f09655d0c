"""Writing what happened for the hooks that hear of it."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Count, F, Q
from django.utils import timezone
from django.utils.translation import gettext

from hooks.exceptions import TooManyWaiting
from hooks.models import TEST, WAITING_MAX, Hook, HookEvent, HookMessage
from hooks.tallies import MESSAGES


class Happened(NamedTuple):
    """Something that happened to a person's alias: whose, and what a message says of it, as JSON has it."""

    owner_id: int
    data: Mapping[str, Any]


def body_of(event: str, moment: datetime, data: Mapping[str, Any]) -> str:
    """A message as it is sent (Standard Webhooks, "Payload structure")."""
    written = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": event, "timestamp": written, "data": data}, separators=(",", ":"))


@transaction.atomic
def tell(event: HookEvent, happened: Sequence[Happened]) -> None:
    """Write a message for each hook that hears of this event, of these people or of everybody.

    Call it in the transaction of what happened, and only if somebody may hear it (`is_heard`). If too many
    messages wait for a hook, it misses some, and counts them.
    """
    owners = {each.owner_id for each in happened}
    hooks: Any = (
        Hook.objects.live()
        .filter(Q(owner=None) | Q(owner__in=owners), events__contains=event.value)
        .annotate(number=Count("messages", filter=Q(messages__state=HookMessage.State.WAITING)))
        .order_by("pk")
    )
    now = timezone.now()
    messages, missed = [], defaultdict[int, list[int]](list)
    for hook in hooks:
        heard = [each for each in happened if hook.owner_id in (None, each.owner_id)]
        room = max(0, WAITING_MAX - hook.number)
        messages += [_message(hook, event, now, each) for each in heard[:room]]
        if heard[room:]:
            missed[len(heard[room:])].append(hook.pk)
    HookMessage.objects.bulk_create(messages, batch_size=500)
    for number, keys in missed.items():
        Hook.objects.filter(pk__in=keys).update(missed=F("missed") + number)
        MESSAGES.add("missed", number=number * len(keys))


def _message(hook: Hook, event: HookEvent, now: datetime, each: Happened) -> HookMessage:
    # Only an installation's hook must tell people apart.
    data = {**each.data, "owner": {"id": each.owner_id}} if hook.owner_id is None else each.data
    return HookMessage(
        hook=hook,
        about_id=each.owner_id,
        event=event,
        body=body_of(event, now, data),
        created=now,
        due_at=now,
    )


def write_test(hook: Hook) -> HookMessage:
    """Write a message that tells of nothing, to try the hook. Raises HookStopped, TooManyWaiting."""
    hook.refuse_stopped()
    if hook.messages.waiting().count() >= WAITING_MAX:
        raise TooManyWaiting(gettext("Too many messages wait for this web hook already."))
    now = timezone.now()
    return HookMessage.objects.create(
        hook=hook, event=TEST, body=body_of(TEST, now, {}), created=now, due_at=now
    )
