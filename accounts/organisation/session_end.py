"""How long a session lasts that began elsewhere, so that rights are read anew."""

import time

from django.conf import settings
from django.http import HttpRequest

# Session key: seconds since 1970.
UNTIL = "organisation_until"


def limit_session(request: HttpRequest) -> None:
    """Let the session end ORGANISATION_SESSION_HOURS from now."""
    if hours := settings.ORGANISATION_SESSION_HOURS:
        request.session[UNTIL] = time.time() + hours * 3600


def has_lasted(request: HttpRequest) -> bool:
    """Whether the session's time is over."""
    # Where nobody signs in elsewhere, no session is read for this.
    if not (settings.OIDC_PROVIDERS or settings.LDAP_DIRECTORY or settings.TRUSTED_PROXY):
        return False
    until = request.session.get(UNTIL)
    return until is not None and time.time() > until
