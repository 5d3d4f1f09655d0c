"""How often an address may be mailed the link that verifies it: by one account, and by all together.

Whoever has an account can add a stranger's address, and have the link sent again and again. Links that were
sent before go on working.
"""

from datetime import timedelta

from allauth.account.models import EmailAddress
from django.utils.translation import ngettext_lazy

from core.addresses import parse_without_tag
from core.exceptions import RateLimited
from core.ratelimit import Counter, Limit, count_or_refuse

TOO_MANY = ngettext_lazy(
    "This address has been sent as many links as it may be in a day, and those still work. Try again in "
    "%(hours)s hour.",
    "This address has been sent as many links as it may be in a day, and those still work. Try again in "
    "%(hours)s hours.",
    "hours",
)
BY_ONE = Limit("verification-day", 10, timedelta(days=1), refusal=TOO_MANY)
BY_ALL = Limit("verification-all-day", 20, timedelta(days=1), refusal=TOO_MANY)


def _pairs(address: EmailAddress) -> list[tuple[Limit, object]]:
    return [(BY_ONE, (address.user_id, _mailbox(address))), (BY_ALL, _mailbox(address))]


def _mailbox(address: EmailAddress) -> str:
    # With another tag, it is still the same one.
    return str(parse_without_tag(address.email))


def count_verification_mail(address: EmailAddress) -> None:
    """Count a mail that verifies the address. Raises RateLimited if it may not be sent."""
    own, others = _pairs(address)
    (hit,) = Counter.objects.hit(own)
    if hit.is_over:
        raise hit.refused
    try:
        count_or_refuse(others)
    except RateLimited:
        if hit.count == 1 and _is_kept_free(address):
            return
        # What one account is refused does not count for the others.
        Counter.objects.give_back(own)
        raise


def _is_kept_free(address: EmailAddress) -> bool:
    """Whether an account's first link in a day goes there, however many others have asked for: else they
    could keep the address's real owner from verifying it.

    Not if it signs up with a tag: anybody can do so as often as there are tags.
    """
    return not address.primary or address.email == _mailbox(address)


def give_verification_mail_back(address: EmailAddress) -> None:
    """Take the count back: the mail was not sent after all."""
    Counter.objects.give_back(*_pairs(address))


def may_mail_verification(address: EmailAddress) -> bool:
    """Count a mail that verifies the address, and return whether it may be sent."""
    try:
        count_verification_mail(address)
    except RateLimited:
        return False
    return True
