"""Who reads a page."""

from django.http import HttpRequest

from accounts.models import User


def reader(request: HttpRequest) -> User:
    """Who is signed in; LoginRequiredMiddleware lets nobody else reach a page."""
    if not isinstance(request.user, User):
        raise TypeError("a page without LoginRequiredMiddleware has no reader")
    return request.user
