"""What is meant by a web site's name, however a client writes it. Pure; no Django here."""

import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote

from core.addresses import DOMAIN_MAX_OCTETS, AddressError, domain_to_ascii, domain_to_unicode

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


class Site(NamedTuple):
    """A web site: the scheme that a client wrote, and the bare host; "" for what is missing."""

    scheme: str = ""
    host: str = ""


def parse_site(text: str) -> Site:
    """Whatever a client calls a web site.

    A URL, an authority with credentials and port, an app's `androidapp://` identifier or a bare
    name goes in; user name, password, port, path, query and fragment never come out. The host is in
    lower-case A-labels, or an IP literal without brackets. Garbage gives an empty site.
    """
    text = text.strip()
    if not text or len(text) > 20_000:
        return Site()
    scheme = ""
    if match := _SCHEME.match(text):
        scheme, text = match[1].lower(), text[match.end() :]
    elif text.startswith("//"):
        text = text[2:]
    authority = re.split(r"[/?#\\]", text, maxsplit=1)[0].rpartition("@")[2]
    if "%" in authority:
        authority = re.split(r"[/?#\\]", unquote(authority), maxsplit=1)[0].rpartition("@")[2]
    if authority.startswith("["):
        host = authority[1:].partition("]")[0]
        return Site(scheme, _clean_host(host) if ":" in host else "")
    if authority.count(":") > 1:
        host, port = authority, ""
    else:
        host, _colon, port = authority.partition(":")
    # What is no port was no host before the colon: `data:…`, or a password with a slash in it.
    return Site(scheme, "" if port and not port.isdigit() else _clean_host(host))


def bare_host(text: str) -> str:
    """The host of a web site as it is stored: see `parse_site`."""
    return parse_site(text).host


def shared_host(*texts: str) -> str:
    """The host of the first web page's URL in the texts, as a person reads it; "" if there is none."""
    for text in texts:
        if match := re.search(r"(?i)\bhttps?://\S+", text[:20_000]):
            return domain_to_unicode(parse_site(match[0].rstrip(_ENDING)).host)
    return ""


def _clean_host(host: str) -> str:
    host = host.strip().rstrip(".").lower()
    literal = host.partition("%")[0]
    # To try takes longer than all the rest: an IPv6 literal has colons, an IPv4 one ends in a digit.
    if ":" in literal or literal[-1:].isdigit():
        try:
            return str(ip_address(literal))
        except ValueError:
            pass
    try:
        return domain_to_ascii(host)
    except AddressError:
        # One label (localhost, a name on the local net), or a name DNS allows and IDNA does not.
        return host if len(host) <= DOMAIN_MAX_OCTETS and _HOST.fullmatch(host) else ""


_WEBSITE = re.compile(r"(?i)(\bwebsite:\s*)(\S+)")
_ENDING = ".,;:!?)"


def note_without_url(note: str, site: str = "") -> str:
    """The note with each web site's URL cut to its host: after `Website:`, and wherever `site` stands.

    A password manager that is asked on a page writes that page's address, secrets and all, into the
    note. `site` is the site as the client named it, for notes written in other languages.
    """

    def cut(match: re.Match[str]) -> str:
        url = match[2].rstrip(_ENDING)
        if not re.search(r"[/?#@\\]", url):
            return match[0]
        return match[1] + bare_host(url) + match[2][len(url) :]

    if re.search(r"[/?#@\\]", site) and len(site) > 3:
        note = note.replace(site, bare_host(site))
    return _WEBSITE.sub(cut, note)
