"""Names for aliases: from a web site's host and a random part. Pure, but for `secrets`; no Django here.

How hard a name is to guess: one word 13 bits, two words 26, word.word0000 39, eight random
characters 41, twelve 62, a UUID 122 (docs/aliases.md).
"""

import re
import secrets
import string
import uuid
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import idna
import xkcdpass.xkcd_password
from anyascii import anyascii

from aliases.local_parts import check_local_part, is_reserved
from aliases.unwanted_words import UNWANTED
from aliases.websites import Site
from core.public_suffixes import split_registrable

SITE_MAX = 30
NO_SITE = Site()
WORDS = "words"
CHARACTERS = "characters"
UUID = "uuid"

_CHARACTERS = string.ascii_lowercase + string.digits
_APP_SCHEMES = frozenset({"androidapp", "iosapp"})
# Application identifiers are host names written backwards: they begin with these labels and do not end so.
_APP_PREFIXES = frozenset({"com", "org", "net", "io"})

# What stands before a site's name without being one.
_DOOR = re.compile(r"www[0-9]*|m|mobile|wap")
# Suffixes that are a kind of domain, and no site of anybody's: the first label of `co.uk` and its like.
_KINDS = frozenset("ac co com edu gen go ind ltd me ne net nom or org plc sch".split())  # noqa: SIM905


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    """The EFF's large word list (7,776 words; eff.org/dice), less hyphenated, reserved and unwanted words."""
    path = Path(xkcdpass.xkcd_password.locate_wordfile("eff-long"))
    listed = path.read_text(encoding="ascii").split()
    return tuple(word for word in listed if word.isalpha() and word not in UNWANTED and not is_reserved(word))


@lru_cache(maxsize=4096)
def site_label(site: Site) -> str:
    """The name of a web site as it begins an alias: its registrable label in ASCII letters and digits.

    `https://user:pw@www.test-site.co.uk:8443/x` gives `testsite`. At most 30 characters; "" where
    there is no such label (IP addresses, `localhost`, bare suffixes, garbage).
    """
    scheme, host = site
    if "." not in host or ":" in host:
        return ""
    labels = host.split(".")
    looks_backwards = labels[0] in _APP_PREFIXES and labels[-1] not in _APP_PREFIXES
    if scheme in _APP_SCHEMES or (not scheme and len(labels) > 2 and looks_backwards):
        labels = labels[::-1]
    label, rest = _registrable(".".join(labels))
    name = _ascii(label)
    if name and _is_misleading(name):
        # A site called `b` must not make names that look like bounce addresses, nor `support.com` our own.
        name = "".join(map(_ascii, [label, *rest.split(".")]))[:SITE_MAX]
        name = "" if _is_misleading(name) else name
    return name


def _is_misleading(name: str) -> bool:
    return is_reserved(name) or is_reserved(f"{name}.x")


def _registrable(host: str) -> tuple[str, str]:
    """The (registrable label, public suffix) of a host; a suffix that nobody lists is its last label."""
    label, suffix = split_registrable(host)
    if suffix and label:
        # `www.gov.uk`: not somebody's site called www below a suffix, but the suffix's own.
        own = _site_of_suffix(suffix, label) if _DOOR.fullmatch(label) else None
        return own or (label, suffix)
    if suffix:
        return _site_of_suffix(host) or ("", "")
    labels = host.split(".")
    if labels[-1].isdigit() or (len(labels) == 2 and _DOOR.fullmatch(labels[0])):
        return "", ""  # an IPv4 address; `www.` before a name without a dot
    return labels[-2], labels[-1]


def _site_of_suffix(suffix: str, door: str = "www") -> tuple[str, str] | None:
    """The (label, suffix) of the site that a public suffix is, as `gov.uk` and `github.io`; or None."""
    registry = split_registrable(suffix, with_private=False)
    if registry[0]:
        # A private one. Its customers may be called `m`.
        return registry if door.startswith("www") else None
    label, _dot, rest = suffix.partition(".")
    # Below a suffix in its own script, only kinds are listed (company, person, government).
    is_site = rest and label not in _KINDS and not label.startswith("xn--")
    return (label, rest) if is_site else None


def _ascii(label: str) -> str:
    if label.startswith("xn--"):
        try:
            label = idna.decode(label)
        except (idna.IDNAError, UnicodeError):
            label = label.removeprefix("xn--")
    return re.sub(r"[^a-z0-9]", "", anyascii(label).lower())[:SITE_MAX]


def shape(site: Site = NO_SITE, style: str = WORDS) -> str:
    """What the first candidate's name will look like, its random part between ‹ and ›."""
    label = site_label(site) if style != UUID else ""
    if style == UUID:
        return "‹UUID›"
    if style == CHARACTERS:
        return f"{label}.‹abc123de›" if label else "‹abc123de45fg›"
    return f"{label}.‹word›" if label else "‹word›.‹word0000›"


def stronger(style: str, minimum: str) -> str:
    """The harder to guess of two styles."""
    order = (WORDS, CHARACTERS, UUID)
    return max(style, minimum, key=order.index)


def candidates(site: Site = NO_SITE, style: str = WORDS) -> Iterator[str]:
    """Local parts to try, one after another, each from a wider space than the last, without end.

    `<site>.<word>` with a site's host, `<word>.<word><4 digits>` without; `<site>.<8 characters>` and
    `<12 characters>` in the style "characters"; a UUID in the style "uuid". Every one passes
    `check_local_part`.
    """
    chosen = words()
    label = site_label(site) if style != UUID else ""
    width = 0
    while True:
        if style == UUID:
            name = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))  # RFC 9562 §5.4
        elif style == CHARACTERS:
            name = (f"{label}." if label else "") + _random(
                _CHARACTERS, (8 if label else 12) + min(width, 20)
            )
        elif label:
            name = f"{label}.{_words(chosen, label, width)}"
        else:
            name = f"{_pick(chosen)}.{_pick(chosen)}{_random(string.digits, 4 + 2 * min(width, 10))}"
        width += 1
        if not is_reserved(name):
            check_local_part(name)
            yield name


def endings(style: str = WORDS) -> Iterator[str]:
    """Random endings for a chosen name, each from a wider space than the last, without end.

    `.word`, then `.word` with ever more digits; `.` and 8 characters or more; `.` and 32 in the style "uuid".
    """
    width = 0
    while True:
        if style == UUID:
            yield f".{uuid.UUID(bytes=secrets.token_bytes(16), version=4).hex}"
        elif style == CHARACTERS:
            yield f".{_random(_CHARACTERS, 8 + min(width, 20))}"
        else:
            yield f".{_pick(words())}{_random(string.digits, min(2 * width, 20))}"
        width += 1


def _words(chosen: Sequence[str], label: str, width: int) -> str:
    """One word, then two, then two with ever more digits, as far as 64 octets reach."""
    text = _pick(chosen)
    if width:
        text += f".{_pick(chosen)}"
    if width > 1:
        room = 64 - len(label) - 1 - len(text)
        text += _random(string.digits, min(2 * width, room))
    return text


def _pick(chosen: Sequence[str]) -> str:
    return secrets.choice(chosen)


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
