"""Tells people of changes to their addresses."""

import logging

from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.links import password_link
from accounts.models import AddressChange, User

logger = logging.getLogger(__name__)


def tell(change: AddressChange) -> bool:
    """Mail the change to the address that was primary before it; whether that could be done.

    What could not be told is told by the daily `tidy_address_changes`. An address that is removed
    while it may come back hears of that too, with its own link.
    """
    try:
        _send(change, change.before, change if change.is_undoable and change.closed_at is None else None)
        if change.kind == AddressChange.Kind.REMOVED and change.address != change.before:
            claims = AddressChange.objects.open().filter(user=change.user_id, before=change.address)
            if claim := claims.first():
                _send(change, change.address, claim)
    except OSError as error:
        # The change stands, or a mail server that is away would lock people in.
        logger.error("user %s not told of a change of addresses: %s", change.user_id, type(error).__name__)
        return False
    AddressChange.objects.filter(pk=change.pk).update(told_at=timezone.now())
    return True


def _send(change: AddressChange, to: str, claim: AddressChange | None) -> None:
    context = {"change": change, "claim": claim}
    send_mail(
        render_to_string("accounts/email/address_change_subject.txt", context).strip(),
        render_to_string("accounts/email/address_change.txt", context),
        None,
        [to],
    )


def send_undone(user: User) -> None:
    """Mail the link for a new password after an undo. Raises what the mail backend raises."""
    context = {"user": user, "link": password_link(user)}
    send_mail(
        render_to_string("accounts/email/address_undone_subject.txt", context).strip(),
        render_to_string("accounts/email/address_undone.txt", context),
        None,
        [user.email],
    )
