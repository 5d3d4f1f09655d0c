"""Bounces to our return paths: they are counted against the destination, and go no further."""

import logging
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.db import transaction
from django.utils import timezone

from core.addresses import Address
from mail.delivery.pausing import note_bounce
from mail.delivery.report import read_report
from mail.delivery.return_path import read_return_path
from mail.models import Activity, Bounce, Event

logger = logging.getLogger(__name__)

# Reports that are recorded for one destination within a day.
REPORTS_PER_DAY = 100


def receive_bounce(address: Address, message: bytes) -> None:
    """Take a message to a return path: count it if we signed the return path and it reports a failure.

    Anybody who has seen a return path can send anything there: a report counts once for each copy of a
    message that we sent, and at most REPORTS_PER_DAY count for a destination.
    """
    now = timezone.now()
    tag = read_return_path(address.local_part, address.domain, now)
    report = read_report(message) if tag else None
    if tag is None or report is None:
        return
    with transaction.atomic():
        destinations = EmailAddress.objects.select_for_update(of=("self",))
        destination = destinations.filter(pk=tag.destination_id, alias_links__alias=tag.alias_id).first()
        if destination is None:
            return
        known = Bounce.objects.filter(destination=destination).exclude(report="")
        if known.filter(report=tag.report).exists():
            return
        if known.filter(moment__gte=now - timedelta(days=1)).count() >= REPORTS_PER_DAY:
            logger.warning("destination %s has too many bounces today", destination.pk)
            return
        note_bounce(destination, report.status, tag.report)
        Activity.objects.create(
            alias_id=tag.alias_id, event=Event.BOUNCE, destination=destination, reason=report.words
        )
    status = report.status or "unknown"
    logger.info("alias %s destination %s bounced: %s", tag.alias_id, destination.pk, status)
