"""When a session ends that began elsewhere, so that rights are read anew."""

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponseBase

# Session key: seconds since 1970.
UNTIL = "organisation_until"


def limit_session(request: HttpRequest) -> None:
    """Let the session end ORGANISATION_SESSION_HOURS from now."""
    if hours := settings.ORGANISATION_SESSION_HOURS:
        request.session[UNTIL] = time.time() + hours * 3600


class SessionEndMiddleware:
    """Signs out whoever came from outside this site so long ago that they must do so again."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if self._is_over(request):
            logout(request)
        return self.get_response(request)

    def _is_over(self, request: HttpRequest) -> bool:
        # Nobody else's session is read for this.
        if not (settings.OIDC_PROVIDERS or settings.LDAP_DIRECTORY or settings.TRUSTED_PROXY):
            return False
        until = request.session.get(UNTIL)
        return until is not None and time.time() > until
