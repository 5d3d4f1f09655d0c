"""Adding an address to a user's own ones, and verifying it."""

from datetime import timedelta

from allauth.account.internal.flows.email_verification import send_verification_email_to_address
from allauth.account.models import EmailAddress
from allauth.core import ratelimit
from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.address_mail import send_change
from accounts.forms import AddEmailForm
from accounts.models import AddressChange, DestinationOnly, User
from accounts.models.own_addresses import is_available
from accounts.verification_mails import count_verification_mail, give_verification_mail_back
from aliases import taken
from core.db.violations import is_duplicate
from core.exceptions import RateLimited
from core.ratelimit import Limit, count_or_refuse
from mailboxes.changing import lock
from mailboxes.exceptions import MailAway, NotAddable

Kind = AddressChange.Kind
TOO_MANY_TRIES = _("Too many attempts for now. Try again in %(minutes)s minutes.")


def count_try(user: User) -> None:
    """Count an attempt to add an address: the answer reveals whether it is an alias. Raises RateLimited."""
    limit = Limit("address-hour", settings.ADDRESSES_PER_HOUR, timedelta(hours=1), refusal=TOO_MANY_TRIES)
    count_or_refuse((limit, user.pk), taken.budget_of(user))


def count_refusal(form: AddEmailForm) -> None:
    """Count it if the form says that its address is an alias. Raises RateLimited if it must not say so."""
    if form.has_error("email", "address_is_alias"):
        taken.count_revealed(form.user, form.data.get("email", ""))


def add_address(request: HttpRequest, user: User, email: str) -> EmailAddress:
    """Add a destination for an API client, and send the mail that verifies it.

    It can never become an address that signs in. Raises RateLimited, NotAddable, RightsEnded, MailAway.
    """
    count_try(user)
    form = AddEmailForm(data={"email": email}, user=user)
    if not form.is_valid():
        count_refusal(form)
        raise NotAddable(" ".join(str(text) for texts in form.errors.values() for text in texts))
    return add_checked(request, form, by_api=True)


def add_checked(request: HttpRequest, form: AddEmailForm, *, by_api: bool = False) -> EmailAddress:
    """Add the address of a valid form, send the mail that verifies it, and notify the primary address.

    Raises RightsEnded; and MailAway and RateLimited, having added nothing.
    """
    with transaction.atomic():
        user = lock(form.user)
        address, is_new = EmailAddress.objects.get_or_create(user=user, email=form.cleaned_data["email"])
        if is_new and by_api:
            DestinationOnly.objects.create(address=address)
        change = AddressChange.objects.record(user, Kind.ADDED, address, by_api=by_api) if is_new else None
    try:
        send_verification(request, address)
    except (MailAway, RateLimited):
        if change:
            address.delete()
            change.delete()
        raise
    if change:
        send_change(change)
    return address


def confirm_address(user: User, address: EmailAddress) -> None:
    """Mark a further address as verified: aliases may forward to it. Raises NotAddable, RightsEnded.

    It was available when it was added; meanwhile it may have become an alias, or somebody else's.
    """
    refusal = NotAddable(gettext("This address cannot be used here."))
    try:
        with transaction.atomic():
            owner = lock(user)
            address.refresh_from_db()
            # Availability last: whoever had the address may have removed it just now.
            if not address.set_verified() or not is_available(address.email, owner):
                raise refusal
            change = AddressChange.objects.record(owner, Kind.VERIFIED, address)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        raise refusal from error
    send_change(change)


def send_verification(request: HttpRequest, address: EmailAddress) -> bool:
    """Send the mail that verifies the address, and return whether it was: not if one was sent just now.

    Raises RateLimited after too many in a day (accounts.verification_mails); and MailAway, which counts
    against no limit.
    """
    count_verification_mail(address)
    try:
        is_sent = bool(send_verification_email_to_address(request, address))
    except OSError as error:
        give_verification_mail_back(address)
        ratelimit.clear(request, action="confirm_email", key=address.email)
        raise MailAway(error) from error
    if not is_sent:
        give_verification_mail_back(address)
    return is_sent
