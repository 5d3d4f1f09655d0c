"""The end of an account: it spans people and aliases."""

from django.db import transaction

from accounts.models import User
from aliases.models import Alias


@transaction.atomic
def close_account(user: User) -> None:
    """Delete the user and all that is the user's. The aliases stop; their addresses stay taken."""
    Alias.objects.owned_by(user).strip()
    user.delete()
