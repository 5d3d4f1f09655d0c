"""What a person may learn of addresses that others have: one budget, wherever it is told that one is taken.

Whoever chooses a name, imports a file or adds an own address hears whether somebody else has the address.
That is news of an alias of somebody's, so there is little of it in a day. Once it is used up, nothing is
looked at any more: an answer for the free ones alone would say the same. Names of our making tell nothing.
"""

from collections.abc import Sequence
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.utils.translation import ngettext

from accounts.models import User
from aliases.local_parts import resolved_form
from aliases.models import Alias
from core.addresses import AddressError
from core.exceptions import RateLimited
from core.models import Counter, Hit, Limit

SCOPE = "taken-day"


def _limit(step: int) -> Limit:
    return Limit(SCOPE, settings.TAKEN_PER_DAY, timedelta(days=1), step)


def looking(user: User) -> tuple[Limit, object]:
    """What is hit, with other counters, before anything is looked at: it tells what is left."""
    return _limit(0), user.pk


def check_left(user: User, hits: Sequence[Hit]) -> None:
    """Raise RateLimited where the hits say that the user has learned enough. Global admins see all anyway."""
    for hit in hits:
        if hit.limit.scope == SCOPE and hit.count >= hit.limit.amount and not user.is_superuser:
            raise _enough(hit)


def check_may_look(user: User) -> None:
    """Raise RateLimited where the user has learned enough for a day."""
    check_left(user, Counter.objects.all().hit(looking(user)))


def how_many_to_tell(user: User, number: int) -> int:
    """Of so many addresses that others have, how many the user may be told; they are counted as told."""
    if user.is_superuser or not number:
        return number
    (hit,) = Counter.objects.all().hit((_limit(number), user.pk))
    return max(0, min(number, hit.limit.amount - (hit.count - number)))


def count_told(user: User, address: str) -> None:
    """Count that the user is told that an address is taken; one of the user's own is no news.

    Raises RateLimited where it may not be told.
    """
    if not _is_own(user, address) and not how_many_to_tell(user, 1):
        check_may_look(user)


def _is_own(user: User, address: str) -> bool:
    try:
        resolved = resolved_form(address)
    except AddressError:
        return False
    own = EmailAddress.objects.filter(user=user).values_list("email", flat=True)
    return Alias.objects.filter(owner=user, address=resolved).exists() or resolved in map(resolved_form, own)


def _enough(hit: Hit) -> RateLimited:
    hours = -(-hit.retry_after // 3600)
    return RateLimited(
        ngettext(
            "You have tried too many addresses that are taken. Try again in %(hours)s hour.",
            "You have tried too many addresses that are taken. Try again in %(hours)s hours.",
            hours,
        )
        % {"hours": hours},
        retry_after=hit.retry_after,
    )
