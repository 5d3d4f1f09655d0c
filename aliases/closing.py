"""The end of an account: it spans people and aliases."""

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from accounts.models import User
from accounts.sessions import end_sessions
from aliases.models import Alias


@transaction.atomic
def close_account(user: User) -> None:
    """Delete the user and all that is the user's. The aliases stop; their addresses stay taken.

    Raises LastAdmin where nobody would be left to rule.
    """
    user.check_may_leave()
    Alias.objects.owned_by(user).strip()
    # The admin's log names what was changed: here the person's address.
    about = ContentType.objects.get_for_model(User)
    LogEntry.objects.filter(content_type=about, object_id=str(user.pk)).delete()
    # They hold the address too.
    end_sessions(user.pk)
    user.delete()
