"""Who signs in with an address and a password."""

from allauth.account.auth_backends import AuthenticationBackend

from accounts.models import User


class PrimaryAddressBackend(AuthenticationBackend):  # type: ignore[misc]
    """Looks for the primary address alone; the package takes any verified one.

    A further address is a destination: whoever reads its mail must not get the account.
    """

    def _authenticate_by_email(self, email: str, password: str) -> User | None:
        found: User | None = self._check_password(User.objects.by_email(email), password)
        return found
