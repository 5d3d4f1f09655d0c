"""Signing in with an address and a password."""

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.db import models
from django.http import HttpRequest

from accounts.local_passwords import takes_passwords
from accounts.models import User
from core.db.compiled import CompiledQuery

_USER = CompiledQuery(lambda key: User.objects.filter(pk=key), key=models.BigIntegerField())


class PrimaryAddressBackend(AuthenticationBackend):  # type: ignore[misc]
    """Accepts only the primary address; allauth accepts any verified one.

    A further address is a destination: reading its mail must not be enough to get the account.
    """

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> User | None:
        """The user with these credentials; None without local passwords."""
        if not takes_passwords():
            return None
        user: User | None = super().authenticate(request, **credentials)
        return user

    def get_user(self, user_id: int) -> User | None:
        """The user of a session, for each of its requests; None if the account is inactive or deleted."""
        for user in _USER(key=user_id):
            return user if self.user_can_authenticate(user) else None
        return None

    def _authenticate_by_email(self, email: str, password: str) -> User | None:
        found: User | None = self._check_password(User.objects.by_email(email), password)
        return found
