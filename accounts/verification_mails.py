"""How often an address may be mailed the link that verifies it: by one account, and by all together.

Whoever has an account can add a stranger's address, and have the link sent again and again. Links that were
sent before go on working.
"""

from datetime import timedelta

from allauth.account.models import EmailAddress
from django.utils.translation import ngettext_lazy

from accounts.mail_limits import Pair, count_mail, mailbox_of
from core.exceptions import RateLimited
from core.ratelimit import Counter, Limit

TOO_MANY = ngettext_lazy(
    "This address has been sent as many links as it may be in a day, and those still work. Try again in "
    "%(hours)s hour.",
    "This address has been sent as many links as it may be in a day, and those still work. Try again in "
    "%(hours)s hours.",
    "hours",
)
BY_ONE = Limit("verification-day", 10, timedelta(days=1), refusal=TOO_MANY)
BY_ALL = Limit("verification-all-day", 20, timedelta(days=1), refusal=TOO_MANY)


def _pairs(address: EmailAddress) -> tuple[Pair, Pair]:
    mailbox = mailbox_of(address.email)
    return (BY_ONE, (address.user_id, mailbox)), (BY_ALL, mailbox)


def count_verification_mail(address: EmailAddress) -> None:
    """Count a mail that verifies the address. Raises RateLimited if it may not be sent."""

    def is_kept_free() -> bool:
        # Else others could keep the address's real owner from verifying it. Not for whoever signs up with
        # a tag: anybody can do so as often as there are tags.
        return not address.primary or address.email == mailbox_of(address.email)

    count_mail(*_pairs(address), is_kept_free=is_kept_free)


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
