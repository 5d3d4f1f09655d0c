"""How the API says no: `{"error": "<sentence>"}`, or addy.io's `{"message": …}`."""

import logging
import re
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig
from django.http import Http404
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import APIException, MethodNotAllowed, NotAuthenticated

from api.answers import Answer
from core.db.availability import RETRY_AFTER, is_unavailable
from core.exceptions import RuleError
from core.sparing_logs import warn_sparingly
from core.tallies import Count
from tokens.authentication import WRONG_CREDENTIALS

logger = logging.getLogger(__name__)

REFUSED = Count("api_refusals", "API calls that were refused, by the rule or the kind of error", "reason")
# Sentences for answers that Django itself would give as HTML, by status.
SENTENCES = {
    400: _("The request is malformed."),
    401: WRONG_CREDENTIALS,
    403: _("This is not allowed."),
    404: _("There is nothing at this address."),
    405: _("This method is not allowed here."),
    413: _("The request is too large. Its body may have at most 256 KiB."),
    429: _("Too many requests. Try again later."),
    503: _("The service is not available for a moment. Try again shortly."),
}
CRASHED = _("Something went wrong on our side. It is logged; try again later.")

# addy.io's calls; its clients read `message`, and know this word for a key that does not fit.
_ADDY = re.compile(r"/+api/+(v1(/|$)|auth/+(logout|delete-account|verify)/*$)")
UNAUTHENTICATED = "Unauthenticated."


class NotFound(RuleError, code="not_found", status=404):
    """There is no such object, or it is somebody else's."""


class BadInput(RuleError, code="bad_input"):
    """The request has a value that is not valid."""


class Unprocessable(RuleError, code="unprocessable", status=422):
    """A field of the request breaks a rule; as addy.io does, the answer names the field."""

    def __init__(self, field: str, message: object) -> None:
        super().__init__(message)
        self.fields = {"errors": {field: [str(message)]}}


class NotOffered(RuleError, code="not_offered", status=403):
    """SimpleLogin offers this and this server does not; refused as to an account without the right."""


class NeedSudo(RuleError, code="need_sudo", status=440):
    """No token may do this; SimpleLogin would ask for the password again."""


def sentence_for(status: int) -> str:
    """The sentence for a status for which nothing more exact is known."""
    return str(SENTENCES.get(status, CRASHED if status >= 500 else SENTENCES[400]))


def error_body(path: str, sentence: str, status: int) -> dict[str, Any]:
    """An error as the clients that call this path read it."""
    if _ADDY.match(path):
        return {"message": UNAUTHENTICATED if status == 401 else sentence}
    return {"error": sentence}


def answer_error(error: Exception, context: dict[str, Any]) -> Answer | None:
    """The API's exception handler. None lets the error go on and become a 500, in the middleware."""
    headers: dict[str, str] = {}
    if isinstance(error, RuleError):
        sentence, status, reason = str(error), error.status, error.code
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if retry_after := getattr(error, "retry_after", None):
            headers["Retry-After"] = str(retry_after)
    elif is_unavailable(error):
        warn_sparingly(logger, "database away: %s", type(error).__name__)
        # Temporary.
        sentence, status, reason = sentence_for(503), 503, "database_away"
        headers["Retry-After"] = str(RETRY_AFTER)
    elif isinstance(error, Http404):
        sentence, status, reason = sentence_for(404), 404, "not_found"
    elif isinstance(error, PermissionDenied):
        sentence, status, reason = sentence_for(403), 403, "forbidden"
    elif isinstance(error, BadRequest | RequestDataTooBig):
        sentence, status, reason = sentence_for(400), 400, "malformed"
    elif isinstance(error, APIException):
        sentence, status, reason = _words(error), error.status_code, error.default_code
        if challenge := getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
    else:
        return None
    REFUSED.add(reason)
    body = error_body(context["request"].path_info, sentence, status)
    if getattr(context["view"], "speaks_addy", False):
        body = {"message": sentence}
    body |= getattr(error, "fields", {})
    answer = Answer(body, status=status, headers=headers)
    # Django would log each of them.
    answer._has_been_logged = is_unavailable(error)  # type: ignore[attr-defined]
    return answer


def _words(error: APIException) -> str:
    if isinstance(error, NotAuthenticated):
        return str(WRONG_CREDENTIALS)
    if isinstance(error, MethodNotAllowed):
        return sentence_for(405)
    detail: Any = error.detail
    while isinstance(detail, list | dict):
        detail = next(iter(detail.values() if isinstance(detail, dict) else detail), "")
    return str(detail) or gettext("The request is malformed.")
