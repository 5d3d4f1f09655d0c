"""A user's own addresses: adding one, and taking one away so that no alias is left without a destination."""

import logging
from datetime import timedelta

from allauth.account.internal.flows.email_verification import send_verification_email_to_address
from allauth.account.internal.flows.manage_email import emit_email_changed
from allauth.account.models import EmailAddress
from allauth.core import ratelimit
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, ProtectedError
from django.http import HttpRequest
from django.utils.translation import gettext

from accounts.forms import AddEmailForm
from accounts.models import User
from aliases import taken
from aliases.models import Alias, AliasDestination, AliasQuerySet
from core.models import Counter, Limit, first_over
from core.refusals import RateLimited, RuleError

logger = logging.getLogger(__name__)


class AddressNeeded(RuleError):
    """The address signs the user in, or aliases have no other destination."""

    code = "address_needed"
    status = 409


class NotVerified(RuleError):
    """Nobody has shown yet that the user receives at the address."""

    code = "address_not_verified"
    status = 400


class NotAddable(RuleError):
    """Nobody, or not this user, may add the address."""

    code = "address_not_addable"
    status = 400


class MailAway(RuleError):
    """The mail that verifies an address cannot be sent just now."""

    code = "mail_away"
    status = 503
    # Seconds: a mail server that is restarted is back by then.
    retry_after = 300

    def __init__(self, error: OSError) -> None:
        logger.error("verification mail not sent: %s", type(error).__name__)
        super().__init__(gettext("The mail that verifies the address could not be sent. Try again later."))


def count_try(user: User) -> None:
    """Count a try to add an address: it tells whether the address is an alias. Raises RateLimited."""
    limit = Limit("address-hour", settings.ADDRESSES_PER_HOUR, timedelta(hours=1))
    hits = Counter.objects.all().hit((limit, user.pk), taken.looking(user))
    taken.check_left(user, hits)
    if over := first_over([hit for hit in hits if hit.limit == limit]):
        raise RateLimited(
            gettext("Too many tries for now. Try again in %(minutes)s minutes.") % {"minutes": over.minutes},
            retry_after=over.retry_after,
        )


def count_refusal(form: AddEmailForm) -> None:
    """Count where a form says that its address is an alias. Raises RateLimited where it may not say so."""
    if form.has_error("email", "address_is_alias"):
        taken.count_told(form.user, form.data.get("email", ""))


def add_address(request: HttpRequest, user: User, email: str) -> EmailAddress:
    """Add an own address, and send the mail that verifies it. Raises RateLimited, NotAddable, MailAway."""
    count_try(user)
    form = AddEmailForm(data={"email": email}, user=user)
    if not form.is_valid():
        count_refusal(form)
        raise NotAddable(" ".join(str(text) for texts in form.errors.values() for text in texts))
    return add_checked(request, form)


def add_checked(request: HttpRequest, form: AddEmailForm) -> EmailAddress:
    """Add the address of a valid form, and send the mail that verifies it.

    Raises MailAway; then it is not added.
    """
    try:
        address: EmailAddress = form.save(request)
    except OSError as error:
        added = EmailAddress.objects.filter(user=form.user, email=form.cleaned_data["email"], verified=False)
        added.delete()
        raise _mail_away(request, form.cleaned_data["email"], error) from error
    return address


def send_verification(request: HttpRequest, address: EmailAddress) -> None:
    """Send the mail that verifies the address once more. Raises MailAway."""
    try:
        send_verification_email_to_address(request, address)
    except OSError as error:
        raise _mail_away(request, address.email, error) from error


def _mail_away(request: HttpRequest, email: str, error: OSError) -> MailAway:
    """The refusal; the try does not count against the mails that may be asked for."""
    ratelimit.clear(request, action="confirm_email", key=email)
    return MailAway(error)


def make_primary(request: HttpRequest, address: EmailAddress) -> None:
    """Sign in with this address, and forward new aliases to it. Raises NotVerified.

    The one that was primary until then is told so by mail: it may not have been its owner who did it.
    """
    with transaction.atomic():
        # Two at once would both be primary.
        User.objects.select_for_update().get(pk=address.user_id)
        address.refresh_from_db()
        if not address.verified:
            raise NotVerified(gettext("Verify the address first: open the link in the mail."))
        before = EmailAddress.objects.get_primary(address.user)
        if before == address:
            return
        address.set_as_primary()
    try:
        emit_email_changed(request, before, address)
    except OSError as error:
        logger.error("user %s not told of the new address: %s", address.user_id, type(error).__name__)


def depending_on(address: EmailAddress) -> AliasQuerySet:
    """The aliases, deleted ones included, whose only destination is this address."""
    links = AliasDestination.objects.filter(alias=OuterRef("pk"))
    return Alias.objects.filter(
        Exists(links.filter(address=address)), ~Exists(links.exclude(address=address))
    )


def remove_address(address: EmailAddress, *, move_to: EmailAddress | None = None) -> int:
    """Remove an own address and return how many aliases were moved to `move_to`.

    Aliases that have other destinations lose this one. Raises AddressNeeded for the primary address,
    and where aliases would be left without a destination and `move_to` is no other verified address
    of the same user.
    """
    try:
        with transaction.atomic():
            return _remove_address(address, move_to)
    except (IntegrityError, ProtectedError) as error:
        # PostgreSQL looks at foreign keys when it commits.
        raise AddressNeeded(gettext("An alias that forwards to it was made just now. Try again.")) from error


def _remove_address(address: EmailAddress, move_to: EmailAddress | None) -> int:
    User.objects.select_for_update().get(pk=address.user_id)
    address.refresh_from_db()
    if address.primary:
        raise AddressNeeded(
            gettext("Your primary address cannot be removed. Make another one primary first.")
        )
    links = AliasDestination.objects.filter(address=address)
    beside_others = Exists(AliasDestination.objects.filter(alias=OuterRef("alias")).exclude(address=address))
    moved = 0
    if links.exclude(beside_others).exists():
        if move_to is None or not _can_receive(move_to, address):
            raise AddressNeeded(gettext("Choose where the aliases that forward to it alone shall go."))
        moved = links.exclude(beside_others).update(address=move_to)
    # Not one of an alias that has no other, and came since: the address is held by it, then.
    links.filter(beside_others).delete()
    address.delete()
    return moved


def _can_receive(candidate: EmailAddress, instead_of: EmailAddress) -> bool:
    others = EmailAddress.objects.filter(user=instead_of.user_id, verified=True).exclude(pk=instead_of.pk)
    return bool(others.filter(pk=candidate.pk).exists())
