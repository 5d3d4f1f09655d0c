"""Mails about changes to a user's own addresses."""

import logging

from django.utils import timezone

from accounts.models import AddressChange, User
from accounts.password_links import password_link
from core.mails import send_template

logger = logging.getLogger(__name__)


def send_change(change: AddressChange) -> bool:
    """Mail the change to the address that was primary before it, and return whether that worked.

    If not, the daily `tidy_address_changes` sends it. An address that is removed while it may still be
    restored gets a mail too, with its own link.
    """
    try:
        _send(change, change.before, change if change.is_undoable and change.closed_at is None else None)
        if change.kind == AddressChange.Kind.REMOVED and change.address != change.before:
            claims = AddressChange.objects.open().filter(user=change.user_id, before=change.address)
            if claim := claims.first():
                _send(change, change.address, claim)
    except OSError as error:
        # The change stands: otherwise an unreachable mail server would lock people in.
        logger.error("user %s not notified of an address change: %s", change.user_id, type(error).__name__)
        return False
    AddressChange.objects.filter(pk=change.pk).update(told_at=timezone.now())
    return True


def _send(change: AddressChange, to: str, claim: AddressChange | None) -> None:
    context = {"change": change, "claim": claim}
    send_template("accounts/email/address_change", to, context, language=change.user.language)


def send_undone(user: User) -> None:
    """Mail the link for a new password after an undo. Raises what the mail backend raises."""
    context = {"user": user, "link": password_link(user)}
    send_template("accounts/email/address_undone", user.email, context, language=user.language)
