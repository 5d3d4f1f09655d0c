"""What a person may learn of addresses that others have: one budget, wherever it is told that one is taken.

Whoever chooses a name, imports a file or adds an own address hears whether somebody else has the address.
That is news of an alias of somebody's, so there is little of it in a day. Once it is used up, nothing is
looked at any more: an answer for the free ones alone would say the same. Names of our making tell nothing.
"""

import sys
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.utils.translation import ngettext_lazy

from accounts.models import User
from aliases.local_parts import resolved_form
from aliases.models import Alias
from core.addresses import AddressError
from core.ratelimit import Counter, Limit, count_or_refuse

TOO_MANY = ngettext_lazy(
    "You have tried too many addresses that are taken. Try again in %(hours)s hour.",
    "You have tried too many addresses that are taken. Try again in %(hours)s hours.",
    "hours",
)


def _limit(amount: int, step: int) -> Limit:
    return Limit("taken-day", amount, timedelta(days=1), step, TOO_MANY)


def looking(user: User) -> tuple[Limit, object]:
    """The limit to count, with others, before anything is looked up: passed if nothing is left to learn.

    Global admins see all addresses anyway.
    """
    return _limit(sys.maxsize if user.is_superuser else settings.TAKEN_PER_DAY - 1, 0), user.pk


def check_may_look(user: User) -> None:
    """Raise RateLimited if the user has learned enough for a day."""
    count_or_refuse(looking(user))


def how_many_to_tell(user: User, number: int) -> int:
    """Of so many addresses that others have, how many the user may be told; they are counted as told."""
    if user.is_superuser or not number:
        return number
    limit = _limit(settings.TAKEN_PER_DAY, number)
    (hit,) = Counter.objects.hit((limit, user.pk))
    return max(0, min(number, limit.amount - (hit.count - number)))


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
