"""What gunicorn serves."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anonmail_site.settings")

# What is written below var/ (mailed links, for one) is private to this user, whatever server this is.
os.umask(0o077)

_django = get_wsgi_application()

from anonmail_site.bodies import body_limit  # noqa: E402 - needs the settings


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Django, behind a rule that must hold before it reads the request.

    Django decodes form fields and the query by the charset in Content-Type, whatever codec that names
    (rot13, punycode), and before any middleware runs. Forms are UTF-8 here (HTML 5 §4.10.21.8); the API
    reads the parameter itself (api.parsers).
    """
    content_type = environ.get("CONTENT_TYPE", "")
    if "charset" in content_type.lower():
        environ["anonmail.content_type"] = content_type
        parts = [part for part in content_type.split(";") if "charset" not in part.lower()]
        environ["CONTENT_TYPE"] = ";".join(parts)
    return _django(environ, start_response)


# The server asks before it reads (anonmail_site.web_worker).
application.body_limit = body_limit  # type: ignore[attr-defined]
