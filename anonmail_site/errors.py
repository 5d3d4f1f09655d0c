"""Pages for what went wrong outside a view's own answers."""

import logging
import sys

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.defaults import server_error

from core.db.availability import RETRY_AFTER, is_unavailable
from core.sparing_logs import warn_sparingly

logger = logging.getLogger(__name__)


def crashed(request: HttpRequest) -> HttpResponse:
    """The page for an error that nobody caught (Django's handler500): 503 while the database is away, full or
    read-only, wherever that was noticed, and 500 otherwise."""
    error = sys.exc_info()[1]
    if error is None or not is_unavailable(error):
        return server_error(request)
    warn_sparingly(logger, "database away: %s", type(error).__name__)
    # Without the request: the frame of other pages asks the database.
    response = HttpResponse(render_to_string("unavailable.html"), status=503)
    response.headers["Retry-After"] = str(RETRY_AFTER)
    response.headers["Cache-Control"] = "no-store"
    # Django would log each of them, with a traceback.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
