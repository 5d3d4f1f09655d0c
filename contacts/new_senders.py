"""The daily mail about senders who are new to somebody's aliases, for owners who want it."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils import timezone

from accounts.models import User
from aliases.models import Alias, SenderDomain
from core.batches import batches
from core.mails import send_template

logger = logging.getLogger(__name__)

# An alias is named once in that time; a little less than a day, for an early daily run.
TELL_AGAIN = timedelta(hours=23)
# What one mail names; of the rest, it says how many there are.
ALIASES_NAMED = 20
SENDERS_NAMED = 5
BATCH = 1000


class Named(NamedTuple):
    """An alias in the mail, with the first senders who are new to it, and how many more there are."""

    alias: Alias
    senders: Sequence[SenderDomain]
    more: int


def tell() -> int:
    """Mail the owners who want it about senders of whom they have neither been told nor said anything; how
    many senders. One mail a person, in which an alias is named at most once a day."""
    now = timezone.now()
    told_today = SenderDomain.objects.filter(alias=OuterRef("alias"), told_at__gt=now - TELL_AGAIN)
    untold = SenderDomain.objects.unanswered().filter(
        ~Exists(told_today),
        told_at=None,
        alias__deleted_at=None,
        alias__owner__is_active=True,
        alias__owner__alias_preferences__tells_of_new_senders=True,
    )
    by_owner: dict[User, dict[Alias, list[SenderDomain]]] = defaultdict(lambda: defaultdict(list))
    for sender in untold.select_related("alias__owner").order_by("alias__address", "pk").iterator():
        if sender.alias.owner is not None:
            by_owner[sender.alias.owner][sender.alias].append(sender)
    told = 0
    for owner, aliases in by_owner.items():
        try:
            _send(owner, aliases)
        except OSError as error:
            logger.error("user %s not told of new senders: %s", owner.pk, type(error).__name__)
            continue
        keys = [sender.pk for senders in aliases.values() for sender in senders]
        for batch in batches(keys, BATCH):
            told += SenderDomain.objects.filter(pk__in=batch).update(told_at=now)
    return told


def _send(owner: User, aliases: dict[Alias, list[SenderDomain]]) -> None:
    named = [
        Named(alias, senders[:SENDERS_NAMED], max(0, len(senders) - SENDERS_NAMED))
        for alias, senders in list(aliases.items())[:ALIASES_NAMED]
    ]
    context = {
        "aliases": named,
        "number": len(aliases),
        "more": len(aliases) - len(named),
        "site_url": settings.SITE_URL,
    }
    language = owner.language or settings.LANGUAGE_CODE
    send_template("contacts/email/new_senders", owner.email, context, language=language)
