"""A user's own addresses: adding, verifying and removing one, and choosing the one that signs in."""

import logging
from datetime import timedelta

from allauth.account.internal.flows.email_verification import send_verification_email_to_address
from allauth.account.models import EmailAddress
from allauth.core import ratelimit
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, ProtectedError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.address_mail import tell
from accounts.forms import AddEmailForm
from accounts.models import AddressChange, DestinationOnly, User
from aliases import taken
from aliases.models import Alias, AliasDestination, AliasQuerySet
from core.exceptions import RuleError
from core.ratelimit import Limit, count_or_refuse

logger = logging.getLogger(__name__)

Kind = AddressChange.Kind
TOO_MANY_TRIES = _("Too many tries for now. Try again in %(minutes)s minutes.")


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


class ReceivesOnly(RuleError):
    """The address was added through the API: it never signs in."""

    code = "address_receives_only"
    status = 403


class RightsEnded(RuleError):
    """The session or token that asks was ended in this moment, by an undo or a new password."""

    code = "rights_ended"
    status = 403


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
    limit = Limit("address-hour", settings.ADDRESSES_PER_HOUR, timedelta(hours=1), refusal=TOO_MANY_TRIES)
    count_or_refuse((limit, user.pk), taken.looking(user))


def count_refusal(form: AddEmailForm) -> None:
    """Count where a form says that its address is an alias. Raises RateLimited where it may not say so."""
    if form.has_error("email", "address_is_alias"):
        taken.count_told(form.user, form.data.get("email", ""))


def lock(user: User) -> User:
    """The row of the user who asks, locked until the transaction's end. Raises RightsEnded."""
    row = User.objects.select_for_update().get(pk=user.pk)
    if row.get_session_auth_hash() != user.get_session_auth_hash():
        raise RightsEnded(gettext("Your session or token has ended. Sign in again."))
    return row


def add_address(request: HttpRequest, user: User, email: str) -> EmailAddress:
    """Add a destination for a client of the API, and send the mail that verifies it.

    It never becomes an address that signs in. Raises RateLimited, NotAddable, RightsEnded, MailAway.
    """
    count_try(user)
    form = AddEmailForm(data={"email": email}, user=user)
    if not form.is_valid():
        count_refusal(form)
        raise NotAddable(" ".join(str(text) for texts in form.errors.values() for text in texts))
    return add_checked(request, form, by_api=True)


def add_checked(request: HttpRequest, form: AddEmailForm, *, by_api: bool = False) -> EmailAddress:
    """Add the address of a valid form, send the mail that verifies it, and tell the primary address.

    Raises RightsEnded, and MailAway; then it is not added.
    """
    with transaction.atomic():
        user = lock(form.user)
        address, is_new = EmailAddress.objects.get_or_create(user=user, email=form.cleaned_data["email"])
        if is_new and by_api:
            DestinationOnly.objects.create(address=address)
        change = AddressChange.objects.record(user, Kind.ADDED, address, by_api=by_api) if is_new else None
    try:
        send_verification_email_to_address(request, address)
    except OSError as error:
        if change:
            address.delete()
            change.delete()
        raise _mail_away(request, form.cleaned_data["email"], error) from error
    if change:
        tell(change)
    return address


def confirm_address(user: User, address: EmailAddress) -> None:
    """Mark a further address as verified: aliases may forward to it. Raises NotAddable, RightsEnded.

    It was an address of nobody's when it was added; meanwhile it may be an alias, or somebody else's.
    """
    refusal = NotAddable(gettext("This address cannot be used here."))
    try:
        with transaction.atomic():
            owner = lock(user)
            address.refresh_from_db()
            if Alias.objects.holding(address.email).exists() or not address.set_verified():
                raise refusal
            # Asked last: who had it until then may have removed it in this moment.
            if AddressChange.objects.exclude(user=owner).holding(address.email).exists():
                raise refusal
            change = AddressChange.objects.record(owner, Kind.VERIFIED, address)
    except IntegrityError as error:
        raise refusal from error
    tell(change)


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


def make_primary(user: User, address: EmailAddress) -> None:
    """Sign in with this address alone, and forward new aliases to it.

    The one that was primary until then is told so by mail: it may not have been its owner who did it.
    Raises NotVerified, ReceivesOnly, AddressNeeded, RightsEnded.
    """
    try:
        with transaction.atomic():
            # Two at once would both be primary.
            owner = lock(user)
            address.refresh_from_db()
            if address.primary:
                return
            change = _make_primary(owner, address)
    except IntegrityError as error:
        raise AddressNeeded(gettext("There is a user with this address already.")) from error
    tell(change)


def _make_primary(owner: User, address: EmailAddress) -> AddressChange:
    if not address.verified:
        raise NotVerified(gettext("Verify the address first: open the link in the mail."))
    if DestinationOnly.objects.filter(address=address).exists():
        raise ReceivesOnly(
            gettext(
                "This address was added through the API: it receives only. To sign in with it, remove it and"
                " add it again on this page."
            )
        )
    is_return = _close_claims_against(owner, address.email)
    change = AddressChange.objects.record(owner, Kind.PRIMARY, address, is_undoable=not is_return)
    EmailAddress.objects.filter(user=owner, primary=True).update(primary=False)
    EmailAddress.objects.filter(pk=address.pk).update(primary=True)
    owner.email = address.email
    owner.save(update_fields=["email"])
    return change


def _close_claims_against(owner: User, email: str) -> bool:
    """Whether `email` comes back by hand before its link ended; then the links of the others end.

    Whoever took the account meanwhile is told, and must not be able to take that back. Only the
    holder of the earliest link has this right: a thief's is never the earliest.
    """
    links = AddressChange.objects.owned_by(owner).open()
    earliest = links.first()
    if earliest is None or earliest.before != email:
        return False
    links.exclude(before=email).update(closed_at=timezone.now())
    return True


def depending_on(address: EmailAddress) -> AliasQuerySet:
    """The aliases, deleted ones included, whose only destination is this address."""
    links = AliasDestination.objects.filter(alias=OuterRef("pk"))
    return Alias.objects.filter(
        Exists(links.filter(address=address)), ~Exists(links.exclude(address=address))
    )


def remove_address(
    user: User, address: EmailAddress, *, move_to: EmailAddress | None = None, by_api: bool = False
) -> int:
    """Remove an own address and return how many aliases were moved to `move_to`.

    Aliases that have other destinations lose this one; the primary address is told. Raises
    AddressNeeded for the primary address, and where aliases would be left without a destination and
    `move_to` is no other verified address of the same user; RightsEnded.
    """
    try:
        with transaction.atomic():
            owner = lock(user)
            address.refresh_from_db()
            if address.primary:
                raise AddressNeeded(
                    gettext("Your primary address cannot be removed. Make another one primary first.")
                )
            moved = move_aliases(address, move_to)
            change = AddressChange.objects.record(owner, Kind.REMOVED, address, by_api=by_api)
            address.delete()
    except (IntegrityError, ProtectedError) as error:
        # PostgreSQL looks at foreign keys when it commits.
        raise AddressNeeded(gettext("An alias that forwards to it was made just now. Try again.")) from error
    tell(change)
    return moved


def move_aliases(address: EmailAddress, move_to: EmailAddress | None) -> int:
    """Take the address out of all aliases, and return how many of them were moved to `move_to`.

    Those with other destinations only lose it. Raises AddressNeeded where there are others and
    `move_to` is no other verified address of the same user.
    """
    links = AliasDestination.objects.filter(address=address)
    beside_others = Exists(AliasDestination.objects.filter(alias=OuterRef("alias")).exclude(address=address))
    moved = 0
    if links.exclude(beside_others).exists():
        if move_to is None or not _can_receive(move_to, address):
            raise AddressNeeded(gettext("Choose where the aliases that forward to it alone shall go."))
        moved = links.exclude(beside_others).update(address=move_to)
    # Not one of an alias that has no other, and came since: the address is held by it, then.
    links.filter(beside_others).delete()
    return moved


def _can_receive(candidate: EmailAddress, instead_of: EmailAddress) -> bool:
    others = EmailAddress.objects.filter(user=instead_of.user_id, verified=True).exclude(pk=instead_of.pk)
    return bool(others.filter(pk=candidate.pk).exists())
