"""Undoing address changes: the account returns to the holder of the earlier address."""

import logging

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext

from accounts.address_mail import send_undone
from accounts.local_passwords import takes_passwords
from accounts.models import AddressChange, DestinationOnly, User
from accounts.models.own_addresses import UNDO_PERIOD
from accounts.organisation.arriving import disconnect_recent
from core.db.violations import is_duplicate
from core.exceptions import RuleError
from mailboxes.changing import move_aliases

logger = logging.getLogger(__name__)

Kind = AddressChange.Kind


class UndoOver(RuleError, code="undo_over", status=409):
    """The link was used or has expired, or an earlier change was undone."""


def undo(change: AddressChange) -> bool:
    """Give the account back to the address that was primary before `change`.

    That address becomes primary again, even if it was removed meanwhile. Sessions, tokens and the
    password end. Addresses, passkeys, authenticator apps and connected accounts that were added since the
    change, or within UNDO_PERIOD before it, are removed; removed addresses come back. The links of later
    changes end, so that their holders cannot undo this.

    Returns whether the mail with the link for a new password was sent; without local passwords, there is
    none to send. Raises UndoOver.
    """
    try:
        with transaction.atomic():
            user = _undo(change)
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        # The address is kept, but the database has the last word.
        logger.error("address change %s cannot be undone", change.pk)
        raise UndoOver(gettext("This can no longer be undone.")) from error
    if not takes_passwords():
        return False
    try:
        send_undone(user)
    except OSError as error:
        logger.error("user %s has no link for a new password: %s", user.pk, type(error).__name__)
        return False
    return True


def _undo(change: AddressChange) -> User:
    user = User.objects.select_for_update().get(pk=change.user_id)
    # Two requests may come at once.
    if not AddressChange.objects.open().filter(pk=change.pk).exists():
        raise UndoOver(gettext("This link has already been used or has expired."))
    changes = AddressChange.objects.owned_by(user)
    since = changes.filter(pk__gte=change.pk)
    primary = _bring_back(user, change.before)
    taken = taken_away(change)
    for address in EmailAddress.objects.filter(user=user, email__in=taken):
        move_aliases(address, primary)
        address.delete()
    for removed in since.filter(kind=Kind.REMOVED).exclude(address__in=[*taken, change.before]):
        _restore(user, removed)
    _end_second_factors(user, change)
    disconnect_recent(user, change.at - UNDO_PERIOD)
    user.set_unusable_password()
    user.save(update_fields=["password"])
    user.end_sessions_and_tokens()
    now = timezone.now()
    since.filter(closed_at=None).update(closed_at=now)
    changes.filter(before=change.before, closed_at=None).update(closed_at=now)
    return user


def taken_away(change: AddressChange) -> set[str]:
    """The addresses that an undo of `change` removes, including those that a thief added before it."""
    changes = AddressChange.objects.filter(user=change.user_id)
    added = changes.filter(kind=Kind.ADDED, at__gt=change.at - UNDO_PERIOD)
    made_primary = changes.filter(kind=Kind.PRIMARY, pk__gte=change.pk)
    return set((added | made_primary).values_list("address", flat=True)) - {change.before}


def _bring_back(user: User, email: str) -> EmailAddress:
    """Make `email` the user's verified primary address again."""
    EmailAddress.objects.filter(user=user, primary=True).exclude(email=email).update(primary=False)
    address, _made = EmailAddress.objects.update_or_create(
        user=user, email=email, defaults={"verified": True, "primary": True}
    )
    DestinationOnly.objects.filter(address=address).delete()
    user.email = email
    user.save(update_fields=["email"])
    return address


def _restore(user: User, removed: AddressChange) -> None:
    """Restore a removed address; its aliases stay at their new destination."""
    try:
        with transaction.atomic():
            address, is_new = EmailAddress.objects.get_or_create(
                user=user, email=removed.address, defaults={"verified": removed.was_verified}
            )
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        # Somebody else has verified it; the rest of the undo must go on.
        logger.error("address change %s: the removed address is not restored", removed.pk)
        return
    if is_new and removed.was_destination_only:
        DestinationOnly.objects.create(address=address)


def _end_second_factors(user: User, change: AddressChange) -> None:
    """Remove factors that were set up lately, and recovery codes if no other factor is left."""
    factors = Authenticator.objects.filter(user=user)
    factors.filter(created_at__gt=change.at - UNDO_PERIOD).delete()
    if not factors.exclude(type=Authenticator.Type.RECOVERY_CODES).exists():
        factors.delete()
