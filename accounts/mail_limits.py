"""How often a mailbox is mailed links that others can ask for: they can neither flood it, nor use up what its
owner may ask for."""

from collections.abc import Callable

from core.addresses import parse_without_tag
from core.exceptions import RateLimited
from core.ratelimit import Counter, Limit, count_or_refuse

# A limit, and the key that it counts by.
Pair = tuple[Limit, object]


def mailbox_of(email: str) -> str:
    """What a mail to this address counts for: with another tag, it is still the same mailbox."""
    return str(parse_without_tag(email))


def count_mail(own: Pair, by_all: Pair, *, is_kept_free: Callable[[], bool]) -> None:
    """Count a mail: `own` for whom it is about, `by_all` for its mailbox. Raises RateLimited if it may not
    be sent.

    The first one of `own` may be sent even if `by_all` is used up, if it `is_kept_free`.
    """
    (hit,) = Counter.objects.hit(own)
    if hit.is_over:
        raise hit.refused
    try:
        count_or_refuse(by_all)
    except RateLimited:
        if hit.count == 1 and is_kept_free():
            return
        # What is refused because of others does not count.
        Counter.objects.give_back(own)
        raise
