"""Signing in with an address and a password."""

from allauth.account.auth_backends import AuthenticationBackend

from accounts.models import User


class PrimaryAddressBackend(AuthenticationBackend):  # type: ignore[misc]
    """Accepts only the primary address; allauth accepts any verified one.

    A further address is a destination: reading its mail must not be enough to get the account.
    """

    def _authenticate_by_email(self, email: str, password: str) -> User | None:
        found: User | None = self._check_password(User.objects.by_email(email), password)
        return found
