"""The WSGI application that gunicorn serves."""

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import django
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponseBase

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anonmail_site.settings")

# Files below var/, such as mailed links, are private to this user, whatever the server is.
os.umask(0o077)

django.setup(set_prefix=False)

# What the first request would load is loaded now: the web processes share it (gunicorn_conf).
import anonmail_site.urls  # noqa: E402, F401 - needs the settings
from anonmail_site.bodies import body_limit  # noqa: E402
from anonmail_site.tallies import REQUEST_TIMES  # noqa: E402

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Handler(WSGIHandler):
    """Django, and how long it takes."""

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        response = super().get_response(request)
        match = request.resolver_match
        REQUEST_TIMES.observe(
            time.perf_counter() - began,
            match.view_name if match else "none",
            # Clients can write anything there.
            str(request.method) if request.method in METHODS else "other",
            str(response.status_code),
        )
        return response


_django = Handler()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Django, after the charset has been removed from Content-Type.

    Django decodes form fields and the query with any codec that the charset names (rot13, punycode), before
    any middleware runs. Forms here are UTF-8 (HTML 5 §4.10.21.8); the API reads the charset itself
    (api.parsers).
    """
    content_type = environ.get("CONTENT_TYPE", "")
    if "charset" in content_type.lower():
        environ["anonmail.content_type"] = content_type
        parts = [part for part in content_type.split(";") if "charset" not in part.lower()]
        environ["CONTENT_TYPE"] = ";".join(parts)
    return _django(environ, start_response)


# The server checks this before it reads a body (anonmail_site.web_worker).
application.body_limit = body_limit  # type: ignore[attr-defined]
