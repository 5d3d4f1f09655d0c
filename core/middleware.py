"""What all pages need: the user's time zone, and right answers for htmx, caches and a busy server."""

from collections.abc import Callable
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render, resolve_url
from django.utils import timezone
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.deprecation import MiddlewareMixin
from django_htmx.http import HttpResponseClientRedirect

from core.passwords import TooBusy

ZONE_COOKIE = "tz"


class TimeZoneMiddleware:
    """Shows times in the user's zone, which site.js stores in a cookie; without it in TIME_ZONE."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.zones = available_timezones()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        zone = request.COOKIES.get(ZONE_COOKIE, "")
        with timezone.override(ZoneInfo(zone) if zone in self.zones else None):
            return self.get_response(request)


class HtmxSignInMiddleware(MiddlewareMixin):
    """Sends the whole page to the sign-in page if the session has ended when a fragment is requested."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        sign_in = resolve_url(settings.LOGIN_URL)
        if (
            response.status_code == 302
            and request.headers.get("HX-Request") == "true"
            and urlsplit(response.headers["Location"]).path == sign_in
        ):
            back = _path_of(request.headers.get("HX-Current-URL", ""))
            return HttpResponseClientRedirect(f"{sign_in}?{urlencode({'next': back})}")
        return response


def _path_of(url: str) -> str:
    """The URL's path and query, as a place on this site only."""
    try:
        page = urlsplit(url)
    except ValueError:
        return "/"
    return "/" + page.path.lstrip("/\\") + (f"?{page.query}" if page.query else "")


class PrivatePagesMiddleware(MiddlewareMixin):
    """Keeps caches from storing what a signed-in user sees, and from mixing up pages and fragments."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        patch_vary_headers(response, ["HX-Request"])
        if settings.SESSION_COOKIE_NAME in request.COOKIES and not response.has_header("Cache-Control"):
            patch_cache_control(response, no_store=True, private=True)
        return response


class TooBusyMiddleware(MiddlewareMixin):
    """Answers for pages without views of ours (the sign-in pages) when the server is too busy."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, TooBusy):
            return None
        response = render(request, "503.html", {"sentence": str(error)}, status=error.status)
        response.headers["Retry-After"] = str(error.retry_after)
        return response
