"""Forwarding one message to one alias's destinations: each of them once, and the sender learns nothing."""

import hashlib
import logging
from dataclasses import dataclass
from enum import Enum

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from aliases.models import Alias, AliasDestination
from mail.message import author, is_looping, may_offer_unsubscribe, trace_fields
from mail.models import SENDER_MAX, Activity, Deed, Delivery, PausedDestination, note_bounce
from mail.next_hop import Accepted, NextHop, Pending, Refused
from mail.return_path import return_path
from mail.unsubscribe import unsubscribe_token

logger = logging.getLogger(__name__)


class Answer(Enum):
    """What the sender is told for one recipient: ours alone, never the next hop's own words."""

    DONE = "250 2.0.0 Accepted"
    LATER = "451 4.4.1 Cannot deliver now, try again later"
    PAUSED = "450 4.2.1 Mailbox disabled, try again later"
    REFUSED = "550 5.7.1 Message refused"
    LOOP = "554 5.4.6 Routing loop detected"


@dataclass(frozen=True)
class Message:
    """A message as it was handed over."""

    sender: str  # the envelope's; "" for the null sender
    content: bytes
    client: str  # who handed it over, as the trace field says it
    protocol: str
    utf8: bool = False

    @property
    def digest(self) -> str:
        """What a message that is handed over again is recognised by: 64 hexadecimal digits."""
        return hashlib.sha256(self.sender.encode() + b"\0" + self.content).hexdigest()


def forward(message: Message, alias_id: int, next_hop: NextHop) -> Answer:
    """Send the message to every destination of the alias that does not have it yet.

    Later while any is pending; done once all are settled and one at least has accepted; refused when
    all refuse for good. Raises OperationalError while the database is away: then nothing is lost, the
    sender tries again.
    """
    if is_looping(message.content, alias_id):
        return Answer.LOOP
    alias = Alias.objects.select_related("domain").get(pk=alias_id)
    links = AliasDestination.objects.filter(alias=alias).select_related("address").order_by("pk")
    destinations = [link.address for link in links]
    digest = message.digest
    settled = dict(Delivery.objects.filter(alias=alias, digest=digest).values_list("destination", "accepted"))
    paused = set(
        PausedDestination.objects.filter(destination__in=destinations).values_list("destination", flat=True)
    )
    content = _with_trace(message, alias)
    pending = waits = False
    for destination in destinations:
        if destination.pk in settled:
            continue
        if destination.pk in paused:
            waits = True
            continue
        sender = ""
        if message.sender:
            sender = return_path(alias.pk, destination.pk, alias.domain.name, timezone.now())
        outcome = next_hop.send(sender, destination.email, content, utf8=message.utf8)
        if isinstance(outcome, Pending):
            logger.info("alias %s destination %s pending: %s", alias.pk, destination.pk, outcome.reason)
            pending = True
        else:
            settled[destination.pk] = isinstance(outcome, Accepted)
            _settle(message, alias, destination, digest, outcome)
    if pending:
        return Answer.LATER
    if waits:
        return Answer.PAUSED
    return Answer.DONE if any(settled.values()) else Answer.REFUSED


def forget(message: Message, alias_id: int) -> None:
    """Recognise the message no more: whoever handed it over knows what became of it."""
    Delivery.objects.filter(alias=alias_id, digest=message.digest).delete()


def _with_trace(message: Message, alias: Alias) -> bytes:
    unsubscribe = None
    if may_offer_unsubscribe(message.content):
        path = reverse("alias-unsubscribe", args=[unsubscribe_token(alias.pk)])
        unsubscribe = f"{settings.SITE_URL}{path}"
    fields = trace_fields(
        alias=alias.address,
        alias_id=alias.pk,
        moment=timezone.now(),
        client=message.client,
        protocol=message.protocol,
        unsubscribe=unsubscribe,
    )
    return fields + message.content


@transaction.atomic
def _settle(
    message: Message, alias: Alias, destination: EmailAddress, digest: str, outcome: Accepted | Refused
) -> None:
    """Write, in one transaction, that the message is settled for this destination, and count it."""
    accepted = isinstance(outcome, Accepted)
    Delivery.objects.create(alias=alias, destination=destination, digest=digest, accepted=accepted)
    now = timezone.now()
    if accepted:
        Alias.objects.filter(pk=alias.pk).update(forwards=F("forwards") + 1, active_at=now)
    elif isinstance(outcome, Refused):
        note_bounce(destination, outcome.status)
        logger.info("alias %s destination %s refused: %s", alias.pk, destination.pk, outcome.status)
    Activity.objects.create(
        alias=alias,
        moment=now,
        deed=Deed.FORWARD if accepted else Deed.BOUNCE,
        sender=author(message.content, message.sender)[:SENDER_MAX],
        destination=destination,
    )
