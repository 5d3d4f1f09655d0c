"""Bounces: counted against the destination, which is paused if it refuses mail permanently, again and again.

A bounce to one of our return paths goes no further. A fault of this site pauses nothing.
"""

import logging
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from allauth.account.models import EmailAddress
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from aliases.models import AliasDestination, AliasPreferences
from contacts.addresses import is_reverse_address
from contacts.models import Contact
from core.addresses import Address
from core.ratelimit import Limit, count_within
from hooks.models import is_heard
from mail.delivery.faults import note_fault
from mail.delivery.message import author, header_fields, went_through
from mail.delivery.reply_notices import tell_of_return
from mail.delivery.report import Report, read_report
from mail.delivery.return_path import VALID, Tag, read_return_path
from mail.delivery.returned import as_the_owner_wrote_it, returned_part
from mail.delivery.tallies import MESSAGES
from mail.delivery.telling import tell_of_failure
from mail.models import STATUS_MAX, Activity, Bounce, Event, PausedDestination, ReturnedMessage, readable
from rules.models import RuleDestination

logger = logging.getLogger(__name__)

# Reports that are recorded for one destination within a day.
REPORTS_PER_DAY = 100
# Replies to one correspondent of whose return the owner is told within a day.
REPLY_REPORTS_PER_DAY = 20
# A destination is paused after this number of "no such mailbox" bounces, over at least this span, with
# gaps shorter than this.
BOUNCES_TO_PAUSE = 5
BOUNCES_SPAN = timedelta(days=1)
BOUNCES_GAP = timedelta(days=7)
# All statuses that say so (RFC 3463 §3.2, RFC 7505 §4.2): others of their class are about the sender or
# a configuration.
NO_MAILBOX = frozenset({"5.1.1", "5.1.6", "5.1.10", "5.2.1"})
# A status that the destinations of this number of people gave within this time, and of at least half of
# those to whom mail went, is about this site and not about them.
BURST_OWNERS = 3
BURST_TIME = timedelta(days=1)
# The latest rows, which are looked at for it.
BURST_ROWS = 500


class Returned(NamedTuple):
    """A copy of a message that came back, and why.

    `sender`: who wrote it; "" if the report does not show it. `content`: the message, if the report carries
    it whole.
    """

    tag: Tag
    report: Report
    sender: str = ""
    content: bytes = b""


def read_bounce(address: Address, message: bytes) -> Returned | None:
    """What a message to a return path says: None unless we signed the return path and it reports a
    failure."""
    tag = read_return_path(address.local_part, address.domain, timezone.now())
    report = read_report(message) if tag else None
    if not tag or not report:
        return None
    content, is_whole = returned_part(message)
    if tag.contact_id is not None:
        # Whether it is a reply of the alias's, its Message-ID says.
        return Returned(tag, report, content=content if is_whole else b"")
    fields = list(header_fields(content))
    if not went_through(fields, tag.alias_id):
        # It may be anything.
        return Returned(tag, report)
    return Returned(tag, report, readable(author(fields, "")), content if is_whole else b"")


@transaction.atomic
def count_returned(tag: Tag, report: Report, sender: str = "", content: bytes = b"") -> None:
    """Count a copy that came back against its destination.

    Anybody who has seen a return path can send anything there: a report counts once for each copy of a
    message that we sent, and at most REPORTS_PER_DAY count for a destination. The message is kept if its
    owner has asked for it.
    """
    if tag.contact_id is not None:
        _tell_of_reply(tag.alias_id, tag.contact_id, tag.report, report, content)
        return
    destinations = EmailAddress.objects.select_for_update(of=("self",)).annotate(is_heard=is_heard("user"))
    leads_there = Exists(AliasDestination.objects.filter(alias=tag.alias_id, address=OuterRef("pk")))
    by_rule = Exists(
        RuleDestination.objects.filter(rule__owner__aliases=tag.alias_id, address=OuterRef("pk"))
    )
    destination = destinations.filter(leads_there | by_rule, pk=tag.destination_id).first()
    if destination is None:
        return
    known = Bounce.objects.filter(destination=destination).exclude(report="")
    if known.filter(report=tag.report).exists():
        return
    if known.filter(moment__gte=timezone.now() - timedelta(days=1)).count() >= REPORTS_PER_DAY:
        logger.warning("destination %s has too many bounces today", destination.pk)
        return
    note_bounce(destination, report.status, tag.report)
    contact = None
    if is_reverse_address(sender):
        contact = Contact.objects.filter(alias=tag.alias_id, reverse_address=sender.lower()).first()
    activity = Activity.objects.create(
        alias_id=tag.alias_id,
        event=Event.BOUNCE,
        sender=contact.address if contact else sender,
        contact=contact,
        destination=destination,
        status=report.status[:STATUS_MAX],
        reason=report.words,
    )
    transaction.on_commit(_count_for_monitoring)
    if destination.is_heard:
        tell_of_failure(tag.alias_id, destination.pk, report.status)
    _keep_if_wanted(activity, destination.user_id, content)
    status = report.status or "unknown"
    logger.info("alias %s destination %s bounced: %s", tag.alias_id, destination.pk, status)


def _keep_if_wanted(activity: Activity, user_id: int, content: bytes) -> None:
    if content and AliasPreferences.objects.filter(user=user_id, keeps_returned=True).exists():
        ReturnedMessage.keep(activity, content)


def _tell_of_reply(alias_id: int, contact_id: int, copy: str, report: Report, content: bytes) -> None:
    """Tell the owner that a reply came back: once for each, and a few times a day about a correspondent."""
    contact: Any = (
        Contact.objects.filter(pk=contact_id, alias=alias_id)
        .select_related("alias", "alias__owner")
        .annotate(is_heard=is_heard("alias__owner"))
        .first()
    )
    if contact is None or contact.alias.owner is None:
        return
    once = Limit("returned-reply", 1, VALID)
    daily = Limit("returned-replies", REPLY_REPORTS_PER_DAY, timedelta(days=1))
    if not count_within(once, f"{contact_id}-{copy}") or not count_within(daily, contact_id):
        return
    activity = Activity.objects.create(
        alias_id=alias_id,
        event=Event.BOUNCE,
        is_reply=True,
        contact=contact,
        sender=contact.address,
        status=report.status[:STATUS_MAX],
        reason=report.words,
    )
    logger.info("alias %s contact %s bounced: %s", alias_id, contact_id, report.status or "unknown")
    if contact.is_heard:
        tell_of_failure(alias_id, None, report.status)
    owner, alias = contact.alias.owner, contact.alias.address
    _keep_if_wanted(activity, owner.pk, as_the_owner_wrote_it(alias, content))
    reader = owner.email, owner.language
    tell = partial(tell_of_return, *reader, alias, contact.address, report.status, report.words)
    transaction.on_commit(tell)
    transaction.on_commit(_count_for_monitoring)


def _count_for_monitoring() -> None:
    MESSAGES.add(Event.BOUNCE.value)


def is_no_mailbox(status: str) -> bool:
    """Whether an enhanced status code (RFC 3463) says that there is no such mailbox."""
    return status in NO_MAILBOX


@transaction.atomic
def note_bounce(destination: EmailAddress, status: str, report: str = "") -> bool:
    """Count a bounce against a destination; True if it is paused now.

    `status`: "" if the reason is unknown. `report`: which copy of which message came back; "" if it
    never left.
    """
    EmailAddress.objects.select_for_update().get(pk=destination.pk)
    Bounce.objects.create(
        destination=destination, status=status[:12], is_no_mailbox=is_no_mailbox(status), report=report
    )
    if status and _is_burst(status[:12]):
        transaction.on_commit(lambda: note_fault(f"refusals: {status[:12]}"))
        return False
    if not is_no_mailbox(status):
        return False
    moments = list(
        Bounce.objects.filter(destination=destination, is_no_mailbox=True)
        .order_by("-moment")
        .values_list("moment", flat=True)[:100]
    )
    run = moments[:1]
    for moment in moments[1:]:
        if run[-1] - moment >= BOUNCES_GAP:
            break
        run.append(moment)
    if len(run) < BOUNCES_TO_PAUSE or run[0] - run[-1] < BOUNCES_SPAN:
        return False
    PausedDestination.objects.get_or_create(destination=destination)
    return True


def _is_burst(status: str) -> bool:
    """Whether enough people (not addresses, of which somebody may have twenty) have destinations that give
    this status for it to be about this site."""
    since = timezone.now() - BURST_TIME
    refusing = set(
        Bounce.objects.filter(status=status, moment__gte=since)
        .order_by("-moment")
        .values_list("destination__user_id", flat=True)[:BURST_ROWS]
    )
    if len(refusing) < BURST_OWNERS:
        return False
    asked = set(
        Activity.objects.filter(moment__gte=since, destination__isnull=False)
        .order_by("-moment")
        .values_list("destination__user_id", flat=True)[:BURST_ROWS]
    )
    return 2 * len(refusing & asked) >= len(asked)


def resume(destination: EmailAddress) -> None:
    """Send to the destination again; earlier bounces no longer count."""
    PausedDestination.objects.filter(destination=destination).delete()
    Bounce.objects.filter(destination=destination).update(is_no_mailbox=False)
