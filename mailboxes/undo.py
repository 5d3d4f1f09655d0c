"""Taking a change of addresses back: the account returns to whoever had it before."""

import logging

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext

from accounts.address_mail import send_undone
from accounts.models import AddressChange, DestinationOnly, User
from accounts.models.own_addresses import UNDO_PERIOD
from core.exceptions import RuleError
from mailboxes.changing import move_aliases

logger = logging.getLogger(__name__)

Kind = AddressChange.Kind


class UndoOver(RuleError):
    """The link was used, is too old, or an earlier change was taken back."""

    code = "undo_over"
    status = 409


def undo(change: AddressChange) -> bool:
    """Give the account back to the address that was primary before `change`.

    That address is primary again, also if it was removed meanwhile. Sessions, tokens and the password
    end; what was added within UNDO_PERIOD before the change or since is taken away, be it an address, a
    passkey or an authenticator app; what was removed since comes back. The links of later changes end
    too, so that whoever made them cannot take this back.

    Returns whether the mail with the link for a new password could be sent. Raises UndoOver.
    """
    try:
        with transaction.atomic():
            user = _undo(change)
    except IntegrityError as error:
        # Nobody else may take an address that is held; the database has the last word.
        logger.error("change %s of addresses cannot be taken back", change.pk)
        raise UndoOver(gettext("This can no longer be undone.")) from error
    try:
        send_undone(user)
    except OSError as error:
        logger.error("user %s has no link for a new password: %s", user.pk, type(error).__name__)
        return False
    return True


def _undo(change: AddressChange) -> User:
    user = User.objects.select_for_update().get(pk=change.user_id)
    # Of two who press the button at once, one comes too late.
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
    user.set_unusable_password()
    user.save(update_fields=["password"])
    user.end_sessions_and_tokens()
    now = timezone.now()
    since.filter(closed_at=None).update(closed_at=now)
    changes.filter(before=change.before, closed_at=None).update(closed_at=now)
    return user


def taken_away(change: AddressChange) -> set[str]:
    """The addresses that an undo of `change` takes away: also those that a thief adds first."""
    changes = AddressChange.objects.filter(user=change.user_id)
    added = changes.filter(kind=Kind.ADDED, at__gt=change.at - UNDO_PERIOD)
    made_primary = changes.filter(kind=Kind.PRIMARY, pk__gte=change.pk)
    return set((added | made_primary).values_list("address", flat=True)) - {change.before}


def _bring_back(user: User, email: str) -> EmailAddress:
    """Make `email` the user's verified primary address again, whatever became of it."""
    EmailAddress.objects.filter(user=user, primary=True).exclude(email=email).update(primary=False)
    address, _made = EmailAddress.objects.update_or_create(
        user=user, email=email, defaults={"verified": True, "primary": True}
    )
    DestinationOnly.objects.filter(address=address).delete()
    user.email = email
    user.save(update_fields=["email"])
    return address


def _restore(user: User, removed: AddressChange) -> None:
    """Put a removed address back as it was; its aliases stay where they went."""
    try:
        with transaction.atomic():
            address, is_new = EmailAddress.objects.get_or_create(
                user=user, email=removed.address, defaults={"verified": removed.was_verified}
            )
    except IntegrityError:
        # Somebody has it verified after all: that must not stand in the way of the rest.
        logger.error("change %s of addresses: what was removed stays away", removed.pk)
        return
    if is_new and removed.was_destination_only:
        DestinationOnly.objects.create(address=address)


def _end_second_factors(user: User, change: AddressChange) -> None:
    """Remove what was set up lately, and recovery codes that nothing else is left beside."""
    factors = Authenticator.objects.filter(user=user)
    factors.filter(created_at__gt=change.at - UNDO_PERIOD).delete()
    if not factors.exclude(type=Authenticator.Type.RECOVERY_CODES).exists():
        factors.delete()
