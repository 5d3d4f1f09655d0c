"""Who speaks in a message to an alias that was made for a website, and which of them are new there.

A sender is a registrable domain. Only what the header and the mail server in front say is looked at, never
what a message is about.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.db import models
from django.utils import timezone

from aliases.models import Alias, SenderDomain
from aliases.models.sender import SENDERS_MAX
from aliases.telling import tell_more
from core.addresses import domain_or_none
from core.db.changes import insert_unless_present
from core.db.compiled import CompiledQuery
from core.public_suffixes import registrable_domain
from hooks.models import HookEvent, is_heard_sql
from mail.delivery.authentication import results
from mail.delivery.handover import Head

# Seconds for which a process does not ask again whether it has noted a sender; and how many it remembers.
REMEMBERED = 3600.0
REMEMBERED_MAX = 50_000


class Sender(NamedTuple):
    """A registrable domain; whether the mail server in front has verified it, and whether it has found that
    the domain disowns the message."""

    domain: str
    is_proven: bool
    is_disowned: bool = False


def sender_of(head: Head, site: str) -> Sender | None:
    """Who speaks in the message; None if nobody can tell.

    The website's domain (`site`, perhaps "") if it has signed; else that of From, unless the domain disowns
    the message: then that of a good DKIM signature. Without one, it is somebody who claims to be From's; not
    if that is the website.
    """
    found = results(head.fields)
    signers = sorted({domain for domain in map(registrable_domain, found.dkim) if domain})
    if site and site in signers:
        return Sender(site, True)
    domain = _domain_of_author(head)
    author = registrable_domain(domain)
    if found.is_forged and author not in signers:
        if signers:
            return Sender(signers[0], True)
        return Sender(author, False, True) if author != site and author else None
    if not author:
        return None
    return Sender(author, author in signers or found.has_sender_for(domain) or found.is_proven_for(domain))


def author_of(head: Head) -> str:
    """The registrable domain of From, whoever has signed; "" if it has none."""
    return registrable_domain(_domain_of_author(head))


def _domain_of_author(head: Head) -> str:
    return domain_or_none(head.author.rpartition("@")[2]) or ""


_NOTED = CompiledQuery(
    lambda alias_ids: SenderDomain.objects.filter(alias__id__among=alias_ids).values_list(
        "alias_id", "domain"
    ),
    alias_ids=models.BigIntegerField(),
)
_ONCE = (SenderDomain._meta.get_field("alias"), SenderDomain._meta.get_field("domain"))
# The owner of a new row's alias, as SQL.
_OWNER = (
    f'(SELECT owner_id FROM {Alias._meta.db_table} WHERE id = "{SenderDomain._meta.db_table}"."alias_id")'  # noqa: S608
)
# An alias, and a sender to it.
Pair = tuple[int, str]


def _tell(senders: Sequence[Any]) -> None:
    """Tell hooks of these senders, who are new to their aliases."""
    aliases = Alias.objects.in_bulk([sender.alias_id for sender in senders])
    tell_more(
        HookEvent.SENDER_NEW,
        (
            (aliases[each.alias_id], {"sender": {"domain": each.domain, "verified": each.is_proven}})
            for each in senders
        ),
    )


class NotedSenders:
    """The senders that this process has noted, or found noted, within the last hour."""

    def __init__(self) -> None:
        self._until: dict[Pair, float] = {}

    def note(self, heard: Mapping[Pair, bool]) -> None:
        """Write down these senders, each with whether it was proven, if they are new to their aliases.

        No statement if this process knows them; one if the database does. Call `remember` once it is
        committed. An alias has at most SENDERS_MAX; further ones are not noted.
        """
        now = time.monotonic()
        unsure = {pair: proven for pair, proven in heard.items() if self._until.get(pair, now) <= now}
        if not unsure:
            return
        noted = set(_NOTED(alias_ids=list({alias_id for alias_id, _domain in unsure})))
        numbers: dict[int, int] = {}
        for alias_id, _domain in noted:
            numbers[alias_id] = numbers.get(alias_id, 0) + 1
        new = []
        # In the order of their index, so that two processes do not wait for each other.
        for pair in sorted(unsure.keys() - noted):
            alias_id, domain = pair
            numbers[alias_id] = numbers.get(alias_id, 0) + 1
            if numbers[alias_id] <= SENDERS_MAX:
                new.append(
                    SenderDomain(
                        alias_id=alias_id, domain=domain, is_proven=unsure[pair], first_at=timezone.now()
                    )
                )
        if new and (told := insert_unless_present(new, *_ONCE, also=is_heard_sql(_OWNER))):
            _tell(told)

    def remember(self, heard: Mapping[Pair, bool]) -> None:
        """Do not ask about these again for a while."""
        if len(self._until) + len(heard) > REMEMBERED_MAX:
            self._until.clear()
        now = time.monotonic()
        for pair in heard:
            if self._until.get(pair, now) <= now:
                self._until[pair] = now + REMEMBERED
