"""The way of a request to the API: middlewares of its own, paths as clients write them, never any HTML."""

import io
import re
from collections.abc import Callable
from typing import IO, Any

import corsheaders.middleware
from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.security import SecurityMiddleware
from django.urls import ResolverMatch
from django.utils import translation
from django.utils.module_loading import import_string

from api.answers import Answer
from api.errors import error_body, sentence_for

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# The page to try calls out is a page like others.
API_PATHS = re.compile(r"/+api(?!/+docs/*$)(/|$)")


class ApiHandler(BaseHandler):
    """Runs the views behind the middlewares in API_MIDDLEWARE, which may wrap a request and no more."""

    def load_middleware(self, is_async: bool = False) -> None:
        chain = convert_exception_to_response(self._get_response)
        for name in reversed(settings.API_MIDDLEWARE):
            chain = convert_exception_to_response(import_string(name)(chain))
        self._middleware_chain = chain
        # The views of paths in which nothing varies: to find one takes as long as to check a token.
        self.fixed_paths: dict[str, ResolverMatch] = {}

    def _get_response(self, request: HttpRequest) -> HttpResponseBase:
        """The view's answer. Nothing here waits for templates, coroutines or a transaction of the request."""
        match = self.fixed_paths.get(request.path_info)
        if match is None:
            match = self.resolve_request(request)
            if not match.kwargs:
                self.fixed_paths[request.path_info] = match
        request.resolver_match = match
        answer: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        return answer


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


class CorsMiddleware(corsheaders.middleware.CorsMiddleware):
    """django-cors-headers for browsers, which say what page asks; other clients need nothing of it."""

    def __call__(self, request: HttpRequest) -> Any:
        if "HTTP_ORIGIN" in request.META:
            return super().__call__(request)
        return self.get_response(request)


def language_middleware(get_response: GetResponse) -> GetResponse:
    """Answers in the language that Django's LocaleMiddleware would choose where no path names one."""

    def in_language(request: HttpRequest) -> HttpResponseBase:
        language = translation.get_language_from_request(request)
        translation.activate(language)
        request.LANGUAGE_CODE = language
        response = get_response(request)
        response.headers._store["content-language"] = ("Content-Language", language)
        return response

    return in_language


def host_middleware(get_response: GetResponse) -> GetResponse:
    """Refuses a request for a host that is none of ALLOWED_HOSTS, whether or not its view asks for it."""

    def for_allowed_host(request: HttpRequest) -> HttpResponseBase:
        request.get_host()
        return get_response(request)

    return for_allowed_host


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
            return _error(request, 400)
        if not fits:
            return _error(request, 413)
        response = self.get_response(request)
        status = response.status_code
        if status >= 300 and status != 304 and "json" not in response.headers.get("Content-Type", ""):
            return _error(request, status if status >= 400 else 404, response)
        return response


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


def _error(request: HttpRequest, status: int, instead_of: HttpResponseBase | None = None) -> HttpResponse:
    response = Answer(error_body(request.path_info, sentence_for(status), status), status)
    for name in ("Allow", "Retry-After", "WWW-Authenticate"):
        if instead_of is not None and name in instead_of.headers:
            response.headers[name] = instead_of.headers[name]
    return response


class HeadersMiddleware:
    """The headers that all answers of the API have: they are private, so that no cache keeps them, and no
    page shows them; besides, what Django's SecurityMiddleware sets."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.plain, self.secure = map(_constant_headers, ("http", "https"))

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        # To set them one by one takes longer than what any of our middlewares does.
        response.headers._store.update(self.secure if request.is_secure() else self.plain)
        if isinstance(response, HttpResponse):
            length = str(len(response.content))
            response.headers._store["content-length"] = ("Content-Length", length)
        return response


def _constant_headers(scheme: str) -> dict[str, tuple[str, str]]:
    """The headers of each answer to a request over http or https, as Django keeps them."""
    response = HttpResponse(
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            "Vary": "Accept-Language, Origin",
            "X-Frame-Options": "DENY",
        }
    )
    request = WSGIRequest({"REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(), "wsgi.url_scheme": scheme})
    SecurityMiddleware(lambda _request: response).process_response(request, response)
    del response.headers["Content-Type"]
    return dict(response.headers._store)
