"""Aliases that end by themselves: their rules, the warning a week before, and the end."""

import logging
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import User
from aliases import exceptions as refusals
from aliases.models import Alias, AliasExpiry
from aliases.models.expiry import DAYS_MAX, WARNING_DAYS
from aliases.telling import tell_of
from core.batches import batches
from core.mails import send_template
from hooks.models import HookEvent, is_heard

logger = logging.getLogger(__name__)

# Keys in one statement: SQLite takes at most 32,766 parameters unless built for more.
BATCH = 1000


def check_expiry(*, expires_at: datetime | None, idle_days: int | None, unused_days: int | None) -> None:
    """Raise InvalidValue where an alias cannot end by these rules."""
    now = timezone.now()
    if expires_at is not None and not now < expires_at <= now + timedelta(days=DAYS_MAX):
        raise refusals.InvalidValue(gettext("An alias expires in the future, within ten years."))
    for days in (idle_days, unused_days):
        if days is not None and not 1 <= days <= DAYS_MAX:
            raise refusals.InvalidValue(gettext("An alias expires after 1 to 3,650 days."))


@transaction.atomic
def set_expiry(
    alias: Alias, *, expires_at: datetime | None, idle_days: int | None, unused_days: int | None
) -> None:
    """Let the alias end by these rules from now on; none of them: never. Raises InvalidValue."""
    rules: dict[str, Any] = {"expires_at": expires_at, "idle_days": idle_days, "unused_days": unused_days}
    check_expiry(**rules)
    if not any(rules.values()):
        AliasExpiry.objects.filter(alias=alias).delete()
        return
    # A new rule brings a new warning. Whoever chooses a day within a week needs none.
    warning = expires_at - timedelta(days=WARNING_DAYS) if expires_at else None
    rules["warned_at"] = warning if warning and warning <= timezone.now() else None
    AliasExpiry.objects.update_or_create(alias=alias, defaults={**rules, "expired_at": None})


def warn() -> int:
    """Mail each owner whose aliases will end within a week, once for each alias; how many aliases."""
    now = timezone.now()
    then = now + timedelta(days=WARNING_DAYS)
    # Mail since the last warning made it void, unless it was about a date.
    anew = Q(warned_at=None) | Q(warned_at__lt=F("alias__active_at")) & ~Q(expires_at__lte=then)
    soon = AliasExpiry.objects.running().filter(anew).due(then)
    by_owner: dict[User, list[AliasExpiry]] = defaultdict(list)
    for row in soon.select_related("alias", "alias__owner").order_by("alias__address").iterator():
        if row.alias.owner is not None:
            by_owner[row.alias.owner].append(row)
    warned = 0
    for owner, rows in by_owner.items():
        try:
            _send_warning(owner, rows)
        except OSError as error:
            logger.error("user %s not warned: %s", owner.pk, type(error).__name__)
            continue
        for batch in batches([row.pk for row in rows], BATCH):
            warned += AliasExpiry.objects.filter(pk__in=batch).update(warned_at=now)
    return warned


def _send_warning(owner: User, rows: list[AliasExpiry]) -> None:
    context = {"owner": owner, "rows": rows, "site_url": settings.SITE_URL, "days": WARNING_DAYS}
    language = owner.language or settings.LANGUAGE_CODE
    send_template("aliases/email/expiry", owner.email, context, language=language)


@transaction.atomic
def expire() -> int:
    """Disable the aliases whose end has come, a week or more after their owner was warned; how many."""
    now = timezone.now()
    warned = AliasExpiry.objects.running().filter(warned_at__lte=now - timedelta(days=WARNING_DAYS))
    ended = warned.filter(Q(expires_at__lte=now) | Q(warned_at__gte=F("alias__active_at"))).due(now)
    found = dict(ended.values_list("pk", is_heard("alias__owner")))
    keys = list(found)
    for batch in batches(keys, BATCH):
        Alias.objects.filter(pk__in=batch).update(enabled=False)
        AliasExpiry.objects.filter(pk__in=batch).update(expired_at=now)
        if heard := [key for key in batch if found[key]]:
            tell_of(HookEvent.ALIAS_ENDED, Alias.objects.filter(pk__in=heard).order_by("pk"))
    return len(keys)
