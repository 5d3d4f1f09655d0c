"""How many aliases a user may make in an hour and a day: rows that creations wait for in turn."""

from django.utils import timezone

from accounts.models import User
from core.ratelimit import Counter, hide

CREATE_HOUR, CREATE_DAY = "create-hour", "create-day"


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
