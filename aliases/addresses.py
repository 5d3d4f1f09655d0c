"""What may be an alias's local part, and what was meant by a web site's name. Pure; no Django here."""

import re
from ipaddress import ip_address
from urllib.parse import unquote

from accounts.addresses import (
    LOCAL_PART_MAX_OCTETS,
    AddressError,
    domain_to_ascii,
    domain_to_unicode,
    parse_without_tag,
)

# RFC 2142 and relatives: names that a domain's people or its mail software answer to.
RESERVED_NAMES = frozenset(
    """
    abuse admin administrator anonymous autoconfig autodiscover billing bounce bounces contact daemon dmarc
    ftp help hostmaster hr info it legal list mail mailer-daemon mailerdaemon marketing mta-sts news
    no-reply nobody noc noreply notifications null office owner postmaster press privacy root sales
    security service ssladmin ssladministrator sslwebmaster support sysadmin system tls-reports usenet
    uucp webmaster www
    """.split()  # noqa: SIM905 - a list of seventy quoted words is harder to read
)
# What begins so is a bounce address (ours, VERP) or an SRS one: never an alias.
RESERVED_PREFIXES = ("b.", "bounce.", "bounce-", "bounces.", "bounces-", "prvs.", "srs0", "srs1")

_LOCAL_PART = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_HOST_MAX = 253


def check_local_part(local_part: str) -> None:
    """Raise AddressError, with a sentence, where `local_part` may not be an alias's.

    Lower case, at most 64 octets (RFC 5321 §4.5.3.1.1), letters, digits and single separators
    between them, and no name that is reserved.
    """
    if len(local_part) > LOCAL_PART_MAX_OCTETS:
        raise AddressError(f"The part before the @ has at most {LOCAL_PART_MAX_OCTETS} characters.")
    if not _LOCAL_PART.fullmatch(local_part):
        raise AddressError(
            "The part before the @ consists of lower-case letters and digits, with single dots, "
            "hyphens or underscores between them."
        )
    if is_reserved(local_part):
        raise AddressError("This name is reserved.")


def is_reserved(local_part: str) -> bool:
    """Whether the name belongs to the domain's own people or software."""
    return local_part in RESERVED_NAMES or local_part.startswith(RESERVED_PREFIXES)


def resolved_form(text: str) -> str:
    """The alias address that mail to `text` is looked up as: any case, any `+tag`, U- or A-labels.

    Raises AddressError where `text` is no address.
    """
    return str(parse_without_tag(text))


def split_site(text: str) -> tuple[str, str]:
    """The (scheme, bare host) of whatever a client calls a web site; "" for what is not there.

    A URL, an authority with credentials and port, an app's `androidapp://` identifier or a bare
    name goes in; user name, password, port, path, query and fragment never come out. The host is in
    lower-case A-labels, or an IP literal without brackets. Garbage gives ("", "").
    """
    text = text.strip()
    if not text or len(text) > 20_000:
        return "", ""
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
        return scheme, _clean_host(host) if ":" in host else ""
    if authority.count(":") > 1:
        host, port = authority, ""
    else:
        host, _colon, port = authority.partition(":")
    # What is no port was no host before the colon: `data:…`, or a password with a slash in it.
    return scheme, "" if port and not port.isdigit() else _clean_host(host)


def bare_host(text: str) -> str:
    """The host of a web site as it is stored: see `split_site`. "" where there is none."""
    return split_site(text)[1]


def _clean_host(host: str) -> str:
    host = host.strip().rstrip(".").lower()
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return domain_to_ascii(host)
    except AddressError:
        # One label (localhost, a name on the local net), or a name DNS allows and IDNA does not.
        return host if len(host) <= _HOST_MAX and _HOST.fullmatch(host) else ""


def display_host(host: str) -> str:
    """A stored host as a person reads it."""
    return domain_to_unicode(host)


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
