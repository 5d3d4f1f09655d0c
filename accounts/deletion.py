"""Deleting an account, with everything that other apps keep for its user."""

from collections.abc import Callable

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from accounts.models import User
from accounts.sessions import end_sessions

_before: list[Callable[[User], object]] = []


def before_account_deletion(act: Callable[[User], object]) -> None:
    """Run `act(user)` in the transaction that deletes an account. Call it in `AppConfig.ready`."""
    _before.append(act)


@transaction.atomic
def close_account(user: User) -> None:
    """Delete the user and everything of the user's. The aliases stop; their addresses stay taken.

    Raises LastAdmin if no active global admin would be left.
    """
    user.check_may_leave()
    for act in _before:
        act(user)
    # These rows hold the user's address.
    about = ContentType.objects.get_for_model(User)
    LogEntry.objects.filter(content_type=about, object_id=str(user.pk)).delete()
    end_sessions(user.pk)
    user.delete()
