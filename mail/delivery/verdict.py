"""The answer for a recipient at every door: one rule for SMTP, LMTP and the policy service."""

from dataclasses import dataclass

from django.conf import settings

from core.addresses import Address
from mail.delivery.blocks import blocks
from mail.delivery.resolve import Kind, Resolution, our_domains

# A blocked alias and an unknown address get the same answer, which is also Postfix's own
# (with show_user_unknown_table_name = no): nobody can tell them apart.
UNKNOWN = "550 5.1.1 User unknown"
NOT_OURS = "550 5.7.1 We do not relay"
# Enough new aliases for a day: a sender that means it comes back.
FULL = "450 4.2.1 Mailbox unavailable, try again later"
# What a client that guesses addresses is told.
GUESSED = (UNKNOWN, FULL)
RETURN_PATH = "550 5.7.1 This address accepts only bounces"
# System incorrectly configured (RFC 3463 §3.4): the mail waits until the administrator has put it right.
NOT_OURS_NOW = "451 4.3.5 This domain is not Anonmail's"
NO_POSTMASTER = "451 4.3.5 MAIL_POSTMASTER is not set"
AWAY = "451 4.3.0 Cannot look this up now, try again later"


@dataclass(frozen=True)
class Verdict:
    """What the recipient is, and the reply that refuses it (RFC 5321 §4.2), or None."""

    resolution: Resolution
    refusal: str | None = None


def verdict(resolution: Resolution, sender: str) -> Verdict:
    """Judge one recipient of a transaction; `sender` is "" for the null sender.

    A block is counted within a second, so that the time of the answer does not reveal an alias.
    """
    match resolution.kind:
        case Kind.FORWARD | Kind.REVERSE | Kind.NEW | Kind.ENDED:
            # Who may write to a reverse address, or whether a message comes again, only the message can tell.
            return Verdict(resolution)
        case Kind.ROLE if settings.MAIL_POSTMASTER:
            return Verdict(resolution)
        case Kind.RETURN_PATH:
            return Verdict(resolution, RETURN_PATH if sender else None)
        case Kind.BLOCKED if resolution.alias_id is not None:
            blocks.count(resolution.alias_id, sender, resolution.contact_id)
        case Kind.FULL:
            return Verdict(resolution, FULL)
        case Kind.NOT_OURS:
            return Verdict(resolution, NOT_OURS)
    return Verdict(resolution, UNKNOWN)


def after_queue(found: Verdict) -> Verdict:
    """The same recipient, of a message that a mail server in front has queued already.

    It was accepted then, but since then its alias may have been disabled. A refusal would make a bounce to
    whoever is named as the sender, so such mail is taken, and dropped by `Forwarder.take`. What
    only this machine can have sent, for example from cron to root, goes to the postmaster.
    """
    resolution = found.resolution
    if resolution.kind is Kind.NOT_OURS:
        return Verdict(resolution, NOT_OURS_NOW)
    if resolution.kind is Kind.ROLE or _is_for_this_machine(resolution):
        role = Resolution(Kind.ROLE, resolution.address, is_shared=resolution.is_shared)
        return Verdict(role, None if settings.MAIL_POSTMASTER else NO_POSTMASTER)
    if resolution.kind is Kind.RETURN_PATH and found.refusal:
        return Verdict(Resolution(Kind.UNKNOWN, resolution.address))
    return Verdict(resolution)


def _is_for_this_machine(resolution: Resolution) -> bool:
    """Whether an unknown recipient is at our own host's name, where strangers' mail was refused before; in a
    domain of aliases, which a Postfix may add to cron's `root`, only root, which can never be an alias."""
    address: Address | None = resolution.address
    if resolution.kind is not Kind.UNKNOWN or address is None:
        return False
    if address.local_part.lower() == "root":
        return address.domain == settings.MAIL_HOSTNAME or not resolution.is_shared
    return address.domain == settings.MAIL_HOSTNAME and address.domain not in our_domains.shared()
