"""Finding people by an address that somebody typed."""

from accounts.models import User
from core.addresses import AddressError, normalise_address


def user_by_email(text: str) -> User | None:
    """The user who signs in with this address, in any case and form; None where there is none."""
    try:
        return User.objects.filter(email=normalise_address(text)).first()
    except AddressError:
        return None
