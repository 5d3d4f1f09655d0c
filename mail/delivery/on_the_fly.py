"""A message to an address that becomes an alias with it (aliases.by_mail)."""

from mail.delivery.handover import Message
from mail.delivery.lookups import Lookups
from mail.delivery.resolve import UNMADE, Kind, Resolution
from mail.delivery.screening import is_late


async def made(lookups: Lookups, message: Message, recipient: Resolution) -> Resolution:
    """What the recipient is once the message has come: an alias, if it was to become one; FULL if that has to
    wait; UNKNOWN if it cannot be. Others stay what they are.

    The null sender makes no alias: a bounce cannot be the first message to an address, unless somebody has
    forged it as a sender. Raises what the database raises.
    """
    if recipient.kind not in UNMADE or recipient.address is None:
        return recipient
    unknown = Resolution(Kind.UNKNOWN, recipient.address, is_shared=recipient.is_shared)
    if not message.sender:
        return unknown
    kind = await lookups.make(recipient.address)
    if kind is Kind.NEW:
        return await lookups.resolve(recipient.as_written)
    # In the queue of the mail server in front, it would end with a report to whoever is named as the sender.
    if kind is Kind.FULL and not (message.is_queued and is_late(message.head)):
        return Resolution(Kind.FULL, recipient.address, is_shared=recipient.is_shared)
    return unknown
