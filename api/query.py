"""Reading a query string in which a password manager has put a whole URL, unescaped."""

import re
from urllib.parse import parse_qsl

_HOSTNAME = re.compile(r"(?:^|&)hostname=")
_IN_BRACKETS = re.compile(r"^([^\[]*\[[^\]]*\])[^\[]*$")
# More fields than any client sends; what is beyond is ignored, not refused.
_FIELDS_MAX = 100
# The deepest page: far beyond anyone's rows; a database's OFFSET is 63 bits wide.
PAGE_MAX = 1_000_000_000


def whole_number(text: str, most: int) -> int | None:
    """The number that these ASCII digits write, if it is at most `most`: a sign is no digit, nor is ²."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)):
        return None
    return number if (number := int(text)) <= most else None


def read_query(raw: str) -> dict[str, str]:
    """The query's fields, the first of each name.

    Bitwarden appends `hostname=<the page's URL>` without escaping it. From an unescaped `?` in that
    value on, everything is the page's own query: part of `hostname`, never parameters of ours.

    A name in brackets ends at the last of them, as for PHP, for which addy.io's apps write: the one for
    Android says `filter[active]=` for `filter[active]`.
    """
    hostname = None
    if match := _HOSTNAME.search(raw):
        rest = raw[match.end() :]
        if "?" in rest.partition("&")[0]:
            hostname, raw = rest, raw[: match.start()]
    fields: dict[str, str] = {}
    pairs = "&".join(raw.split("&")[:_FIELDS_MAX])
    for name, value in parse_qsl(pairs, keep_blank_values=True):
        name = _IN_BRACKETS.sub(r"\1", name)
        fields.setdefault(name, value)
    if hostname is not None:
        fields["hostname"] = hostname
    return fields
