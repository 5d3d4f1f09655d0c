"""Aliases that end by themselves: at a time, without mail for some days, or never used since an app made one.

Off unless its owner asks for it. The owner is warned by mail, and what expired can be enabled again.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.mail import send_mail
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import ExpressionWrapper, F, Q, Value
from django.db.models.expressions import CombinedExpression
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases import refusals

if TYPE_CHECKING:
    from aliases.models import Alias

logger = logging.getLogger(__name__)

# Days that a warning comes before, and the most that may be asked for: ten years.
WARNING_DAYS = 7
DAYS_MAX = 3650
# A statement has room for so many keys: SQLite takes 32,766 parameters unless built for more.
BATCH = 1000
DAYS = (MinValueValidator(1), MaxValueValidator(DAYS_MAX))


class ExpiryRules(models.Model):
    """After how many days an alias ends, and of what; empty: never."""

    idle_days = models.PositiveSmallIntegerField(
        _("expires after days without mail"), null=True, blank=True, validators=DAYS
    )
    unused_days = models.PositiveSmallIntegerField(
        _("expires when never used within days"), null=True, blank=True, validators=DAYS
    )

    class Meta:
        abstract = True


class AliasExpiryQuerySet(models.QuerySet["AliasExpiry"]):
    def running(self) -> "AliasExpiryQuerySet":
        """Of aliases that are enabled: the others have nothing to lose."""
        return self.filter(alias__enabled=True, alias__deleted_at=None, alias__owner__is_active=True)

    def due(self, now: datetime) -> "AliasExpiryQuerySet":
        """Those whose end has come at that moment, by any of their rules."""
        unused = Q(alias__forwards=0, alias__blocks=0, alias__replies=0)
        return self.filter(
            Q(expires_at__lte=now)
            | Q(idle_days__isnull=False, alias__active_at__lte=_days_before(now, "idle_days"))
            | Q(unused_days__isnull=False, alias__created__lte=_days_before(now, "unused_days")) & unused
        )


def _days_before(moment: datetime, column: str) -> CombinedExpression:
    """The moment less as many days as the column says: one condition, however many numbers there are."""
    # SQLite multiplies a duration by no smaller kind of number.
    days = ExpressionWrapper(F(column), models.IntegerField())
    length = ExpressionWrapper(days * Value(timedelta(days=1)), models.DurationField())
    return Value(moment, models.DateTimeField()) - length


class AliasExpiry(ExpiryRules):
    """When one alias ends by itself."""

    alias = models.OneToOneField("aliases.Alias", models.CASCADE, primary_key=True, related_name="expiry")
    expires_at = models.DateTimeField(_("expires on"), null=True, blank=True, db_index=True)
    warned_at = models.DateTimeField(null=True, editable=False)
    # Set once it has ended: then it is told in the list, until the owner enables the alias again.
    expired_at = models.DateTimeField(null=True, editable=False)

    objects = AliasExpiryQuerySet.as_manager()

    class Meta:
        verbose_name = _("expiry")
        verbose_name_plural = _("expiries")

    def __str__(self) -> str:
        return str(self.alias_id)

    @property
    def ends(self) -> datetime | None:
        """When the alias will end if no mail comes until then (its warning is a week before); None: never."""
        ends = [self.expires_at] if self.expires_at else []
        if self.idle_days:
            ends.append(self.alias.active_at + timedelta(days=self.idle_days))
        if self.unused_days and self.alias.last_activity is None:
            ends.append(self.alias.created + timedelta(days=self.unused_days))
        if not ends:
            return None
        told = self.warned_at or timezone.now()
        if self.expires_at is None and told < self.alias.active_at:  # mail came since, and made it void
            told = timezone.now()
        return max(min(ends), told + timedelta(days=WARNING_DAYS))


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
    alias: "Alias", *, expires_at: datetime | None, idle_days: int | None, unused_days: int | None
) -> None:
    """Let the alias end by these rules from now on; none of them: never. Raises InvalidValue."""
    rules: dict[str, Any] = {"expires_at": expires_at, "idle_days": idle_days, "unused_days": unused_days}
    check_expiry(**rules)
    if not any(rules.values()):
        AliasExpiry.objects.filter(alias=alias).delete()
        return
    # A new rule is warned about anew. Who chooses a day within the week knows it: it is kept to.
    told = expires_at - timedelta(days=WARNING_DAYS) if expires_at else None
    rules["warned_at"] = told if told and told <= timezone.now() else None
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
        for batch in _batches([row.pk for row in rows]):
            warned += AliasExpiry.objects.filter(pk__in=batch).update(warned_at=now)
    return warned


def _send_warning(owner: User, rows: list[AliasExpiry]) -> None:
    context = {"owner": owner, "rows": rows, "site_url": settings.SITE_URL, "days": WARNING_DAYS}
    with translation.override(settings.LANGUAGE_CODE):
        send_mail(
            render_to_string("aliases/email/expiry_subject.txt", context).strip(),
            render_to_string("aliases/email/expiry.txt", context),
            None,
            [owner.email],
        )


@transaction.atomic
def expire() -> int:
    """Disable the aliases whose end has come, a week or more after their owner was warned; how many."""
    now = timezone.now()
    told = AliasExpiry.objects.running().filter(warned_at__lte=now - timedelta(days=WARNING_DAYS))
    ended = told.filter(Q(expires_at__lte=now) | Q(warned_at__gte=F("alias__active_at"))).due(now)
    aliases = apps.get_model("aliases", "Alias")._default_manager.all()
    keys = list(ended.values_list("pk", flat=True))
    for batch in _batches(keys):
        aliases.filter(pk__in=batch).update(enabled=False)
        AliasExpiry.objects.filter(pk__in=batch).update(expired_at=now)
    return len(keys)


def _batches(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """The keys, so many at a time as a statement has room for."""
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))


def forget_expiry(alias_id: int) -> None:
    """An alias that had expired, and is enabled again, ends by itself no more."""
    AliasExpiry.objects.filter(alias=alias_id).exclude(expired_at=None).delete()
