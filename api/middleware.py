"""The way of a request to the API: middlewares of its own, paths as clients write them, never any HTML."""

import io
import re
from collections.abc import Callable
from typing import IO

from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils import translation
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.module_loading import import_string

from api.errors import error_body, sentence_for

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# The page to try calls out is a page like others.
API_PATHS = re.compile(r"/+api(?!/+docs/*$)(/|$)")


class ApiHandler(BaseHandler):
    """Runs the views behind the middlewares in API_MIDDLEWARE, which may wrap a request and no more."""

    def load_middleware(self, is_async: bool = False) -> None:
        self._view_middleware: list[object] = []
        self._template_response_middleware: list[object] = []
        self._exception_middleware: list[object] = []
        chain = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]
        for name in reversed(settings.API_MIDDLEWARE):
            chain = convert_exception_to_response(import_string(name)(chain))
        self._middleware_chain = chain


class ApiMiddleware:
    """Sends requests for the API past the pages' middlewares, through API_MIDDLEWARE."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_page = get_response
        handler = ApiHandler()
        handler.load_middleware()
        self.get_answer: GetResponse = handler._middleware_chain  # type: ignore[assignment]

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if API_PATHS.match(request.path_info):
            return self.get_answer(request)
        return self.get_page(request)


class JsonMiddleware:
    """Doubled slashes collapse, one at the end goes (clients do not follow redirects), a body over the
    limit is answered 413 (the server closes the connection), a chunked one is understood, and an error that
    is not JSON becomes JSON.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.path_info = _plain(request.path_info)
        request.path = _plain(request.path)
        try:
            fits = _read_body(request)
        except OSError:
            # Invalid chunks, or a client that went away in the middle of one.
            return _finish(_early_error(400, request))
        if not fits:
            return _finish(_early_error(413, request))
        response = self.get_response(request)
        media_type = response.headers.get("Content-Type", "")
        if response.status_code >= 300 and response.status_code != 304 and "json" not in media_type:
            status = response.status_code if response.status_code >= 400 else 404
            response = _error(request, status, response)
        return _finish(response)


def _plain(path: str) -> str:
    if "//" in path:
        path = re.sub(r"/{2,}", "/", path)
    return path.removesuffix("/")


def _read_body(request: HttpRequest) -> bool:
    """Put the body, chunked or not, where Django reads it. False if it is over the limit.

    Raises OSError if it cannot be read.
    """
    limit = settings.API_MAX_BODY_BYTES
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = 0
    chunked = "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()
    if chunked and request.META.get("wsgi.input_terminated"):
        stream: IO[bytes] = request.META["wsgi.input"]
        body = _read(stream, limit + 1)
        if len(body) > limit:
            return False
        request.META["CONTENT_LENGTH"] = str(len(body))
    elif length > limit:
        return False
    else:
        body = request.read(length) if length > 0 else b""
        if len(body) < length:
            raise ConnectionError("the body breaks off before its announced end")
    request._stream = io.BytesIO(body)
    request.__dict__["_read_started"] = False
    return True


def _read(stream: IO[bytes], size: int) -> bytes:
    """At most `size` octets of a body. Raises OSError if it breaks off or its chunks are invalid."""
    try:
        return stream.read(size)
    except Exception as error:
        # Each server has classes of its own for it (gunicorn's ParseException is no OSError).
        raise ConnectionError("the body cannot be read") from error


def _early_error(status: int, request: HttpRequest) -> HttpResponse:
    """An error in the client's language, before LocaleMiddleware has chosen one."""
    language = translation.get_language_from_request(request)
    with translation.override(language):
        response = _error(request, status)
    response.headers["Content-Language"] = language
    patch_vary_headers(response, ["Accept-Language"])
    return response


def _error(request: HttpRequest, status: int, instead_of: HttpResponseBase | None = None) -> HttpResponse:
    response = JsonResponse(error_body(request.path_info, sentence_for(status), status), status=status)
    for name in ("Allow", "Content-Language", "Retry-After", "Vary", "WWW-Authenticate"):
        if instead_of is not None and name in instead_of.headers:
            response.headers[name] = instead_of.headers[name]
    return response


def _finish(response: HttpResponseBase) -> HttpResponseBase:
    """Answers of the API are private: no cache keeps them, and no page shows them."""
    patch_cache_control(response, no_store=True)
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
