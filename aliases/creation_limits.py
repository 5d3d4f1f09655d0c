"""How many aliases a user may make in an hour and a day: rows that creations wait for in turn."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import User
from aliases import taken
from core.models import Counter, Limit, first_over, hide
from core.refusals import RateLimited

CREATE_HOUR, CREATE_DAY = "create-hour", "create-day"


def count_creation(owner: User, *, is_chosen: bool = False) -> None:
    """Count one more creation of `owner`, in this transaction. Raises RateLimited.

    `is_chosen`: of a name that its owner has thought of, which may tell of somebody else's.
    """
    hits = Counter.objects.all().hit(
        (Limit(CREATE_HOUR, settings.ALIASES_PER_HOUR, timedelta(hours=1)), owner.pk),
        (Limit(CREATE_DAY, settings.ALIASES_PER_DAY, timedelta(days=1)), owner.pk),
        *([taken.looking(owner)] if is_chosen else []),
    )
    taken.check_left(owner, hits)
    if over := first_over(hits):
        raise RateLimited(
            gettext("You have created too many aliases for now. Try again in %(minutes)s minutes.")
            % {"minutes": over.minutes},
            retry_after=over.retry_after,
        )


def hold_creations(owner: User) -> None:
    """Wait for the owner's running creations, and keep new ones waiting until this transaction ends.

    A quota is exact only if whoever counts against it does so alone.
    """
    # A counter that is not there yet is made as one whose period is over: it counts for nothing.
    Counter.objects.bulk_create(
        [Counter(scope=CREATE_DAY, key=hide(owner.pk), count=0, expires=timezone.now())],
        update_conflicts=True,
        unique_fields=["scope", "key"],
        update_fields=["key"],
    )
