"""Mails about sign-ins: by an app, or from a new browser."""

import logging
from datetime import UTC, timedelta

import httpagentparser
from allauth.account.signals import password_changed, password_set
from django.conf import settings
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext

from accounts.local_passwords import takes_passwords
from accounts.models import User
from core.client_address import neighbourhood_of
from core.mails import absolute_url, send_template
from core.ratelimit import Limit, count_within
from core.secret_keys import secret_keys

logger = logging.getLogger(__name__)

COOKIE = "known_browser"
COOKIE_AGE = timedelta(days=400)  # browsers keep none longer (RFC 6265bis §5.5)
# Users that a browser remembers; the one who signed in there longest ago is dropped first.
PEOPLE_MAX = 10
# Characters of a header; nothing useful comes after them.
AGENT_MAX = 300


def _mark(user: User, secret_key: str | None = None) -> str:
    """The value that a browser keeps for a user who signed in there; valid until the password changes."""
    value = f"{user.pk}:{user._get_session_auth_hash(secret_key)}"
    return salted_hmac("accounts.sign_ins.browser", value, secret=secret_key, algorithm="sha256").hexdigest()


def _marks(request: HttpRequest) -> list[str]:
    return request.COOKIES.get(COOKIE, "").split(".")[:PEOPLE_MAX]


def is_known(request: HttpRequest, user: User) -> bool:
    """Whether the user signed in from this browser before, with the present password."""
    marks = [_mark(user, key) for key in secret_keys()]
    return any(constant_time_compare(mark, kept) for mark in marks for kept in _marks(request))


def remember(request: HttpRequest, user: User) -> None:
    """Mark the browser as known to the user, with the answer to this request."""
    request.__dict__["known_browser_of"] = user


class KnownBrowserMiddleware(MiddlewareMixin):
    """Gives the browser of a user who signed in a cookie that identifies it next time.

    The cookie grants nothing: without it, the user gets a mail about the sign-in.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        user = request.__dict__.get("known_browser_of")
        if user is not None:
            mark = _mark(user)
            kept = [mark, *(other for other in _marks(request) if other and other != mark)]
            response.set_cookie(
                COOKIE,
                ".".join(kept[:PEOPLE_MAX]),
                max_age=COOKIE_AGE,
                secure=settings.HTTPS,
                httponly=True,
                samesite="Lax",
            )
        return response


@receiver([password_changed, password_set])
def _keep_browser(request: HttpRequest, user: User, **_kwargs: object) -> None:
    """The browser in which the password is changed stays signed in, and known."""
    remember(request, user)


def note_sign_in(request: HttpRequest, user: User, *, is_first: bool) -> None:
    """Remember the browser. If it is new, mail the user, except at the account's first sign-in."""
    if not is_first and not is_known(request, user):
        tell_of_sign_in(request, user)
    remember(request, user)


def tell_of_sign_in(request: HttpRequest, user: User, *, app: str = "") -> None:
    """Mail the user about a sign-in from a new browser, or with an app that calls itself `app`.

    At most SIGN_IN_MAILS_PER_DAY mails. An unreachable mail server does not stop the sign-in.
    """
    limit = Limit("sign-in-mail", settings.SIGN_IN_MAILS_PER_DAY, timedelta(days=1))
    if not count_within(limit, user.pk):
        return
    context = {
        "app": app,
        "moment": timezone.now().astimezone(UTC),
        "browser": browser_in_words(request.META.get("HTTP_USER_AGENT", "")),
        "network": neighbourhood_of(request.META.get("REMOTE_ADDR", "")) or gettext("unknown"),
        "site_url": settings.SITE_URL,
        "password_url": absolute_url("account_change_password"),
        "reset_url": absolute_url("account_reset_password"),
        "sessions_url": absolute_url("usersessions_list"),
        "takes_passwords": takes_passwords(),
    }
    try:
        prefix = settings.ACCOUNT_EMAIL_SUBJECT_PREFIX
        send_template("accounts/email/sign_in", user.email, context, language=user.language, prefix=prefix)
    except (OSError, ValueError) as error:
        logger.error("user %s not notified of a sign-in: %s", user.pk, type(error).__name__)


def browser_in_words(agent: str) -> str:
    """`Firefox on Linux`, from a User-Agent header."""
    found = httpagentparser.detect(agent[:AGENT_MAX])
    browser = (found.get("browser") or {}).get("name")
    system = (found.get("platform") or {}).get("name")
    if browser and system:
        return gettext("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return str(browser or system or gettext("unknown"))
