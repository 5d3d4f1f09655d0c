"""How large the body of a request can be. The server checks it first, and then the pages."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin

from api.middleware import API_PATHS
from transfer.views import UPLOAD_MAX_BYTES


def body_limit(path: str) -> int:
    """The maximum number of octets in the body of a request to this path."""
    if API_PATHS.match(path):
        return settings.API_MAX_BODY_BYTES
    return UPLOAD_MAX_BYTES if path == reverse("alias-import") else settings.PAGE_MAX_BODY_BYTES


class BodyLimitMiddleware(MiddlewareMixin):
    """Answers 413 to a request to a page if its body is too large, without reading the body.

    The API and the page that accepts files have their own answers.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        path = request.path_info
        length = request.META.get("CONTENT_LENGTH") or "0"
        is_right = length.isascii() and length.isdigit() and int(length[:20]) <= body_limit(path)
        if is_right or API_PATHS.match(path) or path == reverse("alias-import"):
            return None
        context = {"max_kilobytes": settings.PAGE_MAX_BODY_BYTES // 1024}
        return render(request, "413.html", context, status=413)
