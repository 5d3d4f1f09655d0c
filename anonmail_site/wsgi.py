"""The WSGI application that gunicorn serves."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anonmail_site.settings")

# Files below var/, such as mailed links, are private to this user, whatever the server is.
os.umask(0o077)

_django = get_wsgi_application()

from anonmail_site.bodies import body_limit  # noqa: E402 - needs the settings


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
