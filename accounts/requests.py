"""Who sent a request."""

from django.http import HttpRequest

from accounts.models import User


def user_of(request: HttpRequest) -> User:
    """The signed-in user; LoginRequiredMiddleware lets nobody else reach a page."""
    if not isinstance(request.user, User):
        raise TypeError("This page is not behind LoginRequiredMiddleware.")
    return request.user
