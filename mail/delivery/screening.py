"""Whose mail an alias takes: its owner can block a contact or a domain, or take mail only from people they
know."""

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from django.utils import timezone

from aliases.models import Admits, SenderAnswer
from contacts.book import Correspondent
from mail.delivery.blocks import blocks
from mail.delivery.handover import Answer, Head
from mail.delivery.lookups import Lookups
from mail.delivery.message import received_at
from mail.delivery.resolve import Kind, Resolution
from mail.delivery.senders import Sender, author_of, sender_of
from mail.delivery.tallies import RECIPIENT_TIMES

# How long a stranger's message may wait in the queue of the mail server in front. After five days
# (maximal_queue_lifetime), that would report to whoever is named as the sender.
HELD_MAX = timedelta(days=4)


class Screened(NamedTuple):
    """What is known of a message's author: a contact of the alias; the domain, if the alias was made for
    another website and takes everybody's mail; and the answer that refuses the message, or None."""

    contact: Correspondent | None = None
    sender: Sender | None = None
    refusal: Answer | None = None

    def heard_from(
        self, author: str, contact: Correspondent | None, destinations: Iterable[str]
    ) -> Sender | None:
        """Who may be new to the alias: nobody if the author is its owner, or a contact to whom the owner has
        written before."""
        is_owner = author.lower() in map(str.lower, destinations)
        return None if is_owner or (contact is not None and contact.replies) else self.sender


NOT_SCREENED = Screened()


async def recipient(lookups: Lookups, address: str, sender: str) -> Resolution:
    """What the recipient is for this envelope: an alias is blocked for a contact whom its owner has blocked.

    One statement, and another one only if the alias has blocked contacts.
    """
    began, what = time.perf_counter(), "unanswered"
    try:
        found = await _recipient(lookups, address, sender)
        what = found.kind.value
    finally:
        RECIPIENT_TIMES.observe(time.perf_counter() - began, what)
    return found


async def _recipient(lookups: Lookups, address: str, sender: str) -> Resolution:
    found = await lookups.resolve(address)
    if found.kind is not Kind.FORWARD or found.alias_id is None or not (found.has_blocked and sender):
        return found
    contact = await lookups.contact(found.alias_id, sender)
    if contact is None or not contact.is_blocked:
        return found
    return replace(found, kind=Kind.BLOCKED, contact_id=contact.contact_id)


async def with_whole_message(lookups: Lookups, found: Resolution, sender: str) -> Resolution:
    """What the recipient is at a door that takes whole messages: ENDED if it is blocked since one of the
    owner's rules disabled it because of a message from this sender. Only the message can tell whether it is
    the same.

    One statement, if the alias is blocked and its owner has rules.
    """
    if found.kind is not Kind.BLOCKED or found.contact_id is not None or not found.has_rules:
        return found
    is_open = found.alias_id is not None and await lookups.has_ended(found.alias_id, sender)
    return replace(found, kind=Kind.ENDED) if is_open else found


async def screen(lookups: Lookups, head: Head, alias: Resolution, *, is_queued: bool = False) -> Screened:
    """The author, if they are a contact of the alias; who is new to it; and the answer that refuses their
    message, or None.

    No statement for an alias that takes everybody's mail, and has no contacts and no blocked domains; nor if
    it has blocked nobody and hides replies, because the author is then looked up with all whom the message
    names. A stranger's mail to an alias that takes only known people's makes a contact that waits for the
    owner's yes; the alias's own website is no stranger, nor is a sender that the owner finds fine. What is
    refused for good is counted. `is_queued`: the mail server in front keeps the message, and has put a
    Received field on top.
    """
    if alias.alias_id is None:
        return NOT_SCREENED
    takes_all = alias.admits == Admits.ALL
    needs_sender = alias.hostname or alias.has_blocked_domains or not takes_all
    sender = sender_of(head, alias.site) if needs_sender else None
    if alias.has_blocked_domains and await _is_blocked(lookups, head, alias, sender):
        blocks.count(alias.alias_id, head.author)
        return Screened(refusal=Answer.UNKNOWN)
    is_other = sender is not None and bool(alias.site) and sender.domain != alias.site
    # Whoever may write to an alias that takes only known people's mail is known.
    other = sender if is_other and takes_all else None
    contact, refusal = await _screen_author(lookups, head, alias, sender, is_queued=is_queued)
    return Screened(contact, other, refusal)


async def _screen_author(
    lookups: Lookups, head: Head, alias: Resolution, sender: Sender | None, *, is_queued: bool
) -> tuple[Correspondent | None, Answer | None]:
    takes_all = alias.admits == Admits.ALL
    needs_contact = alias.has_blocked if alias.hides_replies else alias.has_contacts
    if alias.alias_id is None or (takes_all and not needs_contact):
        return None, None
    contact = await lookups.contact(alias.alias_id, head.author)
    if contact is not None and not contact.is_blocked and (takes_all or not contact.is_waiting):
        return contact, None
    is_blocked = contact is not None and contact.is_blocked
    if not takes_all and not is_blocked and await _is_known(lookups, alias, sender):
        return contact, None
    if contact is None:
        if takes_all:
            return None, None
        contact = await lookups.stranger(alias.alias_id, head.author)
    if contact is not None and contact.is_waiting and not contact.is_blocked:
        may_wait = not (is_queued and is_late(head))
        if alias.admits == Admits.KNOWN_LATER and may_wait:
            return contact, Answer.PAUSED
    blocks.count(alias.alias_id, head.author, contact.contact_id if contact else None)
    return contact, Answer.UNKNOWN


async def _is_blocked(lookups: Lookups, head: Head, alias: Resolution, sender: Sender | None) -> bool:
    """Whether the owner has blocked the sender's domain, or the one in From: that may disown the message, or
    somebody else have signed it. What the website has signed is the website's."""
    names = [sender.domain] if sender else []
    if not (sender and sender.is_proven and sender.domain == alias.site):
        names.append(author_of(head))
    for name in dict.fromkeys(filter(None, names)):
        if alias.alias_id and await lookups.answer_about(alias.alias_id, name) == SenderAnswer.BLOCK:
            return True
    return False


async def _is_known(lookups: Lookups, alias: Resolution, sender: Sender | None) -> bool:
    """Whether it is the website that the alias was made for, or a domain that the owner finds fine there."""
    if sender is None or sender.is_disowned or alias.alias_id is None:
        return False
    if sender.domain == alias.site:
        return True
    return await lookups.answer_about(alias.alias_id, sender.domain) == SenderAnswer.FINE


def is_late(head: Head) -> bool:
    """Whether a message that the mail server in front has queued has waited there for as long as it may."""
    received = received_at(head.fields)
    return received is not None and timezone.now() - received > HELD_MAX
