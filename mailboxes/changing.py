"""Making one of a user's own addresses the primary one, and removing one."""

from allauth.account.models import EmailAddress
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, ProtectedError
from django.utils import timezone
from django.utils.translation import gettext

from accounts.address_mail import send_change
from accounts.models import AddressChange, DestinationOnly, User
from aliases.models import Alias, AliasDestination, AliasQuerySet
from core.db.violations import is_dangling, is_duplicate
from mail.encryption.keys import AddressGone
from mailboxes.exceptions import AddressNeeded, NotVerified, ReceivesOnly, RightsEnded

Kind = AddressChange.Kind


def reread(address: EmailAddress) -> None:
    """Read the address anew, once its owner is locked. Raises AddressGone."""
    try:
        address.refresh_from_db()
    except EmailAddress.DoesNotExist as error:
        raise AddressGone(gettext("This address has just been removed.")) from error


def lock(user: User) -> User:
    """The row of the user who asks, locked until the end of the transaction. Raises RightsEnded."""
    row = User.objects.lock_unchanged(user)
    if row is None:
        raise RightsEnded(gettext("Your session or token has ended. Sign in again."))
    return row


def make_primary(user: User, address: EmailAddress) -> None:
    """Make this the only address that signs in, and the destination of new aliases.

    The old primary address is notified: it may not have been its owner who did this. Raises
    NotVerified, ReceivesOnly, AddressNeeded, AddressGone, RightsEnded.
    """
    try:
        with transaction.atomic():
            # Two requests at once would make both primary.
            owner = lock(user)
            reread(address)
            if address.primary:
                return
            change = _make_primary(owner, address)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        raise AddressNeeded(gettext("There is a user with this address already.")) from error
    send_change(change)


def _make_primary(owner: User, address: EmailAddress) -> AddressChange:
    if not address.verified:
        raise NotVerified(gettext("Verify the address first: open the link in the mail."))
    if DestinationOnly.objects.filter(address=address).exists():
        raise ReceivesOnly(
            gettext(
                "This address was added through the API, so it only receives mail. To sign in with it, "
                "remove it and add it again on this page."
            )
        )
    is_return = _end_links_against(owner, address.email)
    change = AddressChange.objects.record(owner, Kind.PRIMARY, address, is_undoable=not is_return)
    EmailAddress.objects.filter(user=owner, primary=True).update(primary=False)
    EmailAddress.objects.filter(pk=address.pk).update(primary=True)
    owner.email = address.email
    owner.save(update_fields=["email"])
    return change


def _end_links_against(owner: User, email: str) -> bool:
    """Whether `email` becomes primary again before its undo link expired; then the other links end.

    Whoever took the account over meanwhile is notified but cannot undo this. Only the holder of the
    earliest link has this right: a thief's is never the earliest.
    """
    links = AddressChange.objects.owned_by(owner).open()
    earliest = links.first()
    if earliest is None or earliest.before != email:
        return False
    links.exclude(before=email).update(closed_at=timezone.now())
    return True


def depending_on(address: EmailAddress) -> AliasQuerySet:
    """The aliases, including deleted ones, whose only destination is this address."""
    links = AliasDestination.objects.filter(alias=OuterRef("pk"))
    return Alias.objects.filter(
        Exists(links.filter(address=address)), ~Exists(links.exclude(address=address))
    )


def remove_address(
    user: User, address: EmailAddress, *, move_to: EmailAddress | None = None, by_api: bool = False
) -> int:
    """Remove an own address and return how many aliases were moved to `move_to`.

    Aliases with other destinations only lose this one. The primary address is notified. Raises
    AddressNeeded as `move_aliases` does, and for the primary address; AddressGone; RightsEnded.
    """
    try:
        with transaction.atomic():
            owner = lock(user)
            reread(address)
            if address.primary:
                raise AddressNeeded(
                    gettext("Your primary address cannot be removed. Make another one primary first.")
                )
            moved = move_aliases(address, move_to)
            change = AddressChange.objects.record(owner, Kind.REMOVED, address, by_api=by_api)
            address.delete()
    except IntegrityError as error:
        if not (isinstance(error, ProtectedError) or is_dangling(error)):
            raise
        # PostgreSQL checks foreign keys at commit.
        refusal = gettext("An alias that forwards to it was created just now. Try again.")
        raise AddressNeeded(refusal) from error
    send_change(change)
    return moved


def move_aliases(address: EmailAddress, move_to: EmailAddress | None) -> int:
    """Take the address out of all aliases, and return how many of them were moved to `move_to`.

    Those with other destinations only lose it. Raises AddressNeeded if there are others and `move_to`
    is not another verified address of the same user.
    """
    links = AliasDestination.objects.filter(address=address)
    beside_others = Exists(AliasDestination.objects.filter(alias=OuterRef("alias")).exclude(address=address))
    moved = 0
    if links.exclude(beside_others).exists():
        others = EmailAddress.objects.filter(user=address.user_id, verified=True).exclude(pk=address.pk)
        if move_to is None or not others.filter(pk=move_to.pk).exists():
            raise AddressNeeded(gettext("Choose where the aliases that forward only to it should go."))
        moved = links.exclude(beside_others).update(address=move_to)
    # An alias made meanwhile, with no other destination, keeps the address from being deleted.
    links.filter(beside_others).delete()
    return moved
