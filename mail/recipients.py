"""What a recipient is told, at every door: one rule for SMTP, LMTP and the policy service."""

from dataclasses import dataclass

from django.conf import settings

from mail.blocks import blocks
from mail.resolve import Kind, Resolution, resolve
from mail.work import refuse_late

# A blocked alias and an unknown address are told in the same words, which are also Postfix's own
# (with show_user_unknown_table_name = no): nobody can tell them apart.
UNKNOWN = "550 5.1.1 User unknown"
NOT_OURS = "550 5.7.1 We do not relay"
RETURN_PATH = "550 5.7.1 This address takes bounces alone"
AWAY = "451 4.3.0 Cannot look this up now, try again later"


@dataclass(frozen=True)
class Verdict:
    """What the recipient is, and the reply that refuses it (RFC 5321 §4.2); None: it is welcome."""

    resolution: Resolution
    refusal: str | None = None


def verdict(recipient: str, sender: str, deadline: float | None = None) -> Verdict:
    """Judge one recipient of a transaction; `sender` is "" for the null sender.

    A block is counted within a second, so that its time tells nobody that there is an alias; not at all
    when this is later than the deadline (of time.monotonic()), because the sender then has another
    answer. Raises OperationalError while the database is away.
    """
    resolution = resolve(recipient)
    refuse_late(deadline)
    match resolution.kind:
        case Kind.FORWARD:
            return Verdict(resolution)
        case Kind.ROLE if settings.MAIL_POSTMASTER:
            return Verdict(resolution)
        case Kind.RETURN_PATH:
            return Verdict(resolution, RETURN_PATH if sender else None)
        case Kind.BLOCKED if resolution.alias_id is not None:
            blocks.count(resolution.alias_id, sender)
        case Kind.NOT_OURS:
            return Verdict(resolution, NOT_OURS)
    return Verdict(resolution, UNKNOWN)
