"""A limit on what a user learns about addresses that others have.

Choosing a name, importing a file and adding an own address reveal whether somebody else has the address.
So all of them share one daily budget. Once it is used up, nothing is looked up any more: answering only
for free addresses would reveal the same. Generated names reveal nothing.
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


def budget_of(user: User) -> tuple[Limit, object]:
    """The limit to check, with others, before anything is looked up: over if the budget is used up.

    Global admins see all addresses anyway.
    """
    return _limit(sys.maxsize if user.is_superuser else settings.TAKEN_PER_DAY - 1, 0), user.pk


def check_may_look(user: User) -> None:
    """Raise RateLimited if the user has learned enough for a day."""
    count_or_refuse(budget_of(user))


def how_many_to_reveal(user: User, number: int) -> int:
    """How many of `number` addresses that others have may be revealed to the user; counts them."""
    if user.is_superuser or not number:
        return number
    limit = _limit(settings.TAKEN_PER_DAY, number)
    (hit,) = Counter.objects.hit((limit, user.pk))
    return max(0, min(number, limit.amount - (hit.count - number)))


def count_revealed(user: User, address: str) -> None:
    """Count that the user learns that an address is taken; the user's own ones do not count.

    Raises RateLimited if it must not be revealed.
    """
    if not _is_own(user, address) and not how_many_to_reveal(user, 1):
        check_may_look(user)


def _is_own(user: User, address: str) -> bool:
    try:
        resolved = resolved_form(address)
    except AddressError:
        return False
    own = EmailAddress.objects.filter(user=user).values_list("email", flat=True)
    return Alias.objects.filter(owner=user, address=resolved).exists() or resolved in map(resolved_form, own)
