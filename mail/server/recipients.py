"""What the doors that Postfix asks at RCPT, policy and milter, have in common: the answer for a recipient."""

import logging
from typing import NamedTuple

from core.client_address import parse_ip
from core.sparing_logs import warn_sparingly
from mail.delivery import screening
from mail.delivery.lookups import Lookups
from mail.delivery.resolve import Kind, Resolution, is_in_our_domains
from mail.delivery.verdict import GUESSED, verdict
from mail.server.limits import UnknownRecipientLimit, limited_client

logger = logging.getLogger(__name__)

# Stands for a client whose address Postfix does not know.
UNNAMED = "unnamed"
# At once, without asking later checks: one that refuses unknown addresses for good would tell them apart.
TOO_MANY_UNKNOWN = "450 4.7.1 Too many unknown recipients, try again later"


class Decision(NamedTuple):
    """The reply that refuses a recipient; None if Postfix should go on. `is_guess`: its client named an
    address that is no alias. `resolution`: what a recipient that we have judged is."""

    refusal: str | None = None
    is_guess: bool = False
    resolution: Resolution | None = None


def limited_client_of(address: str, user: str) -> str:
    """Postfix's client as it is limited: by its network, or by name if it has signed in; "" if it is not."""
    if user:
        return f"{user}@sasl"
    return limited_client(address) if parse_ip(address) else UNNAMED


def decide(resolution: Resolution, sender: str) -> Decision:
    """Whether Postfix should take a recipient."""
    found = verdict(resolution, sender)
    if resolution.kind is Kind.NOT_OURS or (
        resolution.is_shared and resolution.kind in {Kind.UNKNOWN, Kind.ROLE}
    ):
        # Other domains, and ordinary mailboxes beside aliases, are for Postfix's own maps to know.
        return Decision(is_guess=resolution.kind is Kind.UNKNOWN)
    return Decision(found.refusal, found.refusal in GUESSED, found.resolution)


async def answer_for(
    recipient: str, sender: str, client: str, limit: UnknownRecipientLimit, lookups: Lookups
) -> Decision | None:
    """The decision about a client's recipient, counted if it is a guess; None if the database does not
    answer in time. A client that has named too many unknown recipients gets the same answer for each
    address of our domains."""
    try:
        resolution = await screening.recipient(lookups, recipient, sender)
    except Exception as error:
        warn_sparingly(logger, "recipient not resolved: %s", type(error).__name__)
        return None
    if limit.is_over(client):
        return Decision(TOO_MANY_UNKNOWN if is_in_our_domains(recipient) else None)
    decision = decide(resolution, sender)
    if decision.is_guess:
        limit.count(client)
    return decision
