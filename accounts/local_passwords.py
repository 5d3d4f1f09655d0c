"""Which passwords sign people in: this site's (not with LOCAL_PASSWORDS off), or a directory's."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase

from accounts.models import User

View = Callable[..., HttpResponseBase]


def takes_passwords() -> bool:
    """Whether a password of this site, or a passkey alone, signs anybody in."""
    return bool(settings.LOCAL_PASSWORDS)


def has_password_form() -> bool:
    """Whether some password signs people in: of this site, or of the directory."""
    return takes_passwords() or settings.LDAP_DIRECTORY is not None


def is_signup_open() -> bool:
    """Whether anybody can create an account with a password."""
    return bool(settings.SIGNUP_OPEN) and takes_passwords()


def has_password(user: User) -> bool:
    """Whether the user can sign in with a password of this site."""
    return takes_passwords() and user.has_usable_password()


def with_local_passwords(view: View) -> View:
    """The page, which does not exist without local passwords."""

    @wraps(view)
    def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not takes_passwords():
            raise Http404
        return view(request, *args, **kwargs)

    return page
