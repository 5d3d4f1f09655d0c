"""Aliases that end by themselves: at a time, without mail for some days, or never used since an app made one.

Off unless its owner asks for it. The owner is warned by mail, and what expired can be enabled again.
"""

from datetime import datetime, timedelta

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import ExpressionWrapper, F, Q, Value
from django.db.models.expressions import CombinedExpression
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

# Days that a warning comes before, and the most that may be asked for: ten years.
WARNING_DAYS = 7
DAYS_MAX = 3650
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

    def forget_ended(self, alias_ids: list[int]) -> None:
        """Aliases that had expired, and are enabled again, end by themselves no more."""
        self.filter(alias__in=alias_ids).exclude(expired_at=None).delete()


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
    # Set when it has ended: the list says so until the owner enables the alias again.
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
        warned = self.warned_at or timezone.now()
        if self.expires_at is None and warned < self.alias.active_at:  # mail has come since
            warned = timezone.now()
        return max(min(ends), warned + timedelta(days=WARNING_DAYS))
