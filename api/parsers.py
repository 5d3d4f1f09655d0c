"""Lenient reading and strict writing: clients send all kinds of headers and always get JSON."""

import json
from collections.abc import Iterable, Mapping
from typing import IO, Any, NoReturn

from django.utils.translation import gettext
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from api.errors import BadInput

# Python knows many more, and some take seconds to decode a body within the limit (punycode).
CHARSETS = frozenset({"utf-16", "utf-16le", "utf-16be", "utf-32", "iso-8859-1", "latin-1", "windows-1252"})


class AlwaysJSON(BaseContentNegotiation):
    """Whatever Content-Type and Accept say, the body is JSON, and so is the answer."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or ""


class LenientJSONParser(BaseParser):
    """Reads a JSON object, or nothing, under any Content-Type and charset.

    Raises BadInput, in words, for anything else: JSON that is broken or not an object, NaN.
    """

    media_type = "*/*"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        body = stream.read()
        if not body.strip():
            return {}
        try:
            written = _content_type(parser_context) or media_type or ""
            data = json.loads(_decode(body, written), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise BadInput(gettext("The request's body is not valid JSON.")) from error
        if not isinstance(data, dict):
            raise BadInput(gettext("The request's body must be a JSON object."))
        return data


def _content_type(context: Mapping[str, Any] | None) -> str:
    """What the client wrote, where anonmail_site.wsgi took the charset out of it."""
    request = (context or {}).get("request")
    return str(request.META.get("anonmail.content_type", "")) if request is not None else ""


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
