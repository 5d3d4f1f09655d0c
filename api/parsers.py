"""Lenient reading of bodies: clients send all kinds of headers."""

import json
from typing import Any, NoReturn

from django.http import HttpRequest
from django.utils.translation import gettext

from api.errors import BadInput

# Python knows many more, and some take seconds to decode a body within the limit (punycode).
CHARSETS = frozenset({"utf-16", "utf-16le", "utf-16be", "utf-32", "iso-8859-1", "latin-1", "windows-1252"})


def read_body(request: HttpRequest) -> dict[str, Any]:
    """The JSON object that the request's body is, or an empty one, under any Content-Type and charset.

    Raises BadInput, in words, for anything else: JSON that is broken or not an object, NaN.
    """
    body = request.read()
    if not body.strip():
        return {}
    # anonmail_site.wsgi took the charset out of Content-Type.
    written = request.META.get("anonmail.content_type") or request.META.get("CONTENT_TYPE", "")
    try:
        data = _DECODER.decode(_decode(body, written))
    except (ValueError, RecursionError) as error:
        raise BadInput(gettext("The request's body is not valid JSON.")) from error
    if not isinstance(data, dict):
        raise BadInput(gettext("The request's body must be a JSON object."))
    return data


def _decode(body: bytes, media_type: str) -> str:
    charset = ""
    for parameter in media_type.lower().split(";")[1:]:
        name, _equals, value = parameter.partition("=")
        if name.strip() == "charset":
            charset = value.strip(" \"'")
    text = body.decode(charset if charset in CHARSETS else "utf-8-sig")
    return text.removeprefix("\ufeff")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259 §6)")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
