"""Sending a message that came back once more, because its owner wants that."""

import hashlib
import secrets
from collections.abc import Sequence

from allauth.account.models import EmailAddress
from django.utils import timezone

from core.sealing import CannotUnseal
from mail.delivery.message import needs_utf8
from mail.delivery.next_hop import Accepted, configured_next_hop, send_once
from mail.delivery.return_path import return_path
from mail.models import FailedDelivery


class NotKept(Exception):
    """The message did not come back whole, or is no longer kept."""


def resend(failed: FailedDelivery, destinations: Sequence[EmailAddress]) -> bool:
    """Send the message to these addresses of its owner's; whether the next hop has taken it for each.

    A copy that comes back is another failed delivery. Raises NotKept.
    """
    if failed.kept is None:
        raise NotKept
    try:
        content = failed.kept.content
    except CannotUnseal as error:
        raise NotKept from error
    domain = failed.alias.address.rpartition("@")[2]
    hop = configured_next_hop()
    outcomes = []
    for destination in destinations:
        # Of another message than before, or its report would not be counted.
        digest = hashlib.sha256(secrets.token_bytes()).hexdigest()
        sender = return_path(failed.alias_id, destination.pk, domain, timezone.now(), digest)
        outcomes.append(send_once(hop, sender, destination.email, content, utf8=needs_utf8(content)))
    return bool(outcomes) and all(isinstance(outcome, Accepted) for outcome in outcomes)
