"""Sending a message that came back once more, because its owner wants that."""

import hashlib
import secrets
from collections.abc import Sequence

from allauth.account.models import EmailAddress
from django.db import models
from django.utils import timezone

from aliases.models import Alias, AliasPreferences
from core.sealing import CannotUnseal
from mail.delivery.encrypting import HeldBack, once_more
from mail.delivery.message import needs_utf8
from mail.delivery.next_hop import Accepted, Outcome, Pending, configured_next_hop, send_once
from mail.delivery.return_path import return_path
from mail.encryption.certificates import OpenPgpKey
from mail.models import DestinationKey, FailedDelivery


class NotKept(Exception):
    """The message did not come back whole, or is no longer kept."""


def with_facts(addresses: models.QuerySet[EmailAddress]) -> models.QuerySet[EmailAddress]:
    """The same addresses with their keys and what else `resend` needs, in the same statement."""
    return addresses.select_related("openpgp_key", "user__alias_preferences")


def resend(failed: FailedDelivery, destinations: Sequence[EmailAddress]) -> bool:
    """Send the message to these addresses of its owner's; whether the next hop has taken it for each.

    A copy that comes back is another failed delivery. It is encrypted for a destination that has a key.
    Without `with_facts`, each address takes a statement more. Raises NotKept.
    """
    if failed.kept is None:
        raise NotKept
    try:
        content = failed.kept.content
    except CannotUnseal as error:
        raise NotKept from error
    alias = failed.alias
    domain = alias.address.rpartition("@")[2]
    hop = configured_next_hop()
    outcomes: list[Outcome] = []
    for destination in destinations:
        # Of another message than before, or its report would not be counted.
        digest = hashlib.sha256(secrets.token_bytes()).hexdigest()
        sender = return_path(failed.alias_id, destination.pk, domain, timezone.now(), digest)
        try:
            sent = content if alias.skips_encryption else _for_destination(content, alias, destination)
        except HeldBack:
            outcomes.append(Pending("not encrypted"))
            continue
        outcomes.append(send_once(hop, sender, destination.email, sent, utf8=needs_utf8(sent)))
    return bool(outcomes) and all(isinstance(outcome, Accepted) for outcome in outcomes)


def _for_destination(content: bytes, alias: Alias, destination: EmailAddress) -> bytes:
    """The message as this destination gets it. Raises HeldBack."""
    key: DestinationKey | None = getattr(destination, "openpgp_key", None)
    if key is None or not key.is_used:
        return content
    preferences: AliasPreferences | None = getattr(destination.user, "alias_preferences", None)
    sender_format = preferences.sender_format if preferences else None
    openpgp_key = OpenPgpKey(bytes(key.certificate), key.expires_at, key.holds_back, key.hides_subject)
    return once_more(content, alias.address, sender_format, openpgp_key)
