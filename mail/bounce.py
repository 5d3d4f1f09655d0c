"""Bounces to our return paths are read, counted against the destination, and go no further."""

import logging
import re
from email import policy
from email.parser import BytesParser
from io import BytesIO
from typing import Any

from allauth.account.models import EmailAddress
from django.db import transaction
from django.utils import timezone

from accounts.addresses import Address
from mail.models import Activity, Deed, Delivery, note_bounce
from mail.return_path import read_return_path

logger = logging.getLogger(__name__)

# What is read of a report: its second part tells what we ask for, and the message that comes back
# follows after it. The parser makes many times as much of it as came.
_READ_OCTETS = 256 * 1024
_READ_LINES = 8 * 1024
_STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3})")


def _beginning(message: bytes) -> bytes:
    return b"".join(BytesIO(message[:_READ_OCTETS]).readlines()[:_READ_LINES])


def failure_status(message: bytes) -> str | None:
    """The status (RFC 3463) of the first recipient whose delivery failed, as an RFC 3464 report says.

    None where the message is no such report, or reports no failure (a delay, a relay).
    """
    try:
        report = BytesParser(policy=policy.compat32).parsebytes(_beginning(message))
        for part in report.walk():
            if part.get_content_type() != "message/delivery-status":
                continue
            blocks: Any = part.get_payload()
            for block in blocks if isinstance(blocks, list) else []:
                if str(block.get("Action", "")).strip().lower() == "failed":
                    found = _STATUS.search(str(block.get("Status", "")))
                    return found[1] if found else "5.0.0"
    except Exception:
        # The parser is lenient, but a bounce is anybody's octets: what it cannot read is no report.
        logger.info("a bounce could not be read")
    return None


def receive_bounce(address: Address, message: bytes, digest: str) -> None:
    """Take a message to a return path: count it if it is signed by us and reports a failure.

    Once: the digest is what it is recognised by when it comes again.
    """
    tag = read_return_path(address.local_part, address.domain, timezone.now())
    status = failure_status(message) if tag else None
    if tag is None or status is None:
        return
    destination = EmailAddress.objects.filter(pk=tag.destination_id, alias_links__alias=tag.alias_id).first()
    if destination is None:
        return
    with transaction.atomic():
        _delivery, is_new = Delivery.objects.get_or_create(
            alias=None, digest=digest, defaults={"accepted": True}
        )
        if not is_new:
            return
        note_bounce(destination, status)
        Activity.objects.create(alias_id=tag.alias_id, deed=Deed.BOUNCE, destination=destination)
    logger.info("alias %s destination %s bounced: %s", tag.alias_id, destination.pk, status)
