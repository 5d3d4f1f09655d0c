"""Signing out whoever signed in elsewhere, and no longer counts as such."""

from collections.abc import Callable

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponseBase

from accounts.organisation.proxy import names_no_more
from accounts.organisation.session_end import has_lasted


class LeavingMiddleware:
    """Signs out whose time is over, and whom the proxy that signed them in names no more."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if has_lasted(request) or names_no_more(request):
            logout(request)
        return self.get_response(request)
