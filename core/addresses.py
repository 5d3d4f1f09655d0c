"""Arithmetic on mail addresses and domain names. Pure functions; no Django here."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import idna

LOCAL_PART_MAX_OCTETS = 64  # RFC 5321 §4.5.3.1.1
DOMAIN_MAX_OCTETS = 253  # RFC 1035 §2.3.4: 255 on the wire, less the length octets at both ends
ADDRESS_MAX_OCTETS = 254  # RFC 5321 §4.5.3.1.3: a path of 256 with its angle brackets

# RFC 5321 §4.1.2 Dot-string. A Quoted-string is legal but unused in practice: it is refused.
_LOCAL_PART = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_QUOTED_WITH_TAG = re.compile(r'"([^"\\+]*\+.*)"', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1035 §2.3.1, with leading digits
_LABEL_MAX = 63  # octets of an A-label, which is never shorter than what it stands for


class AddressError(ValueError):
    """The text is not a valid mail address or domain name."""


@dataclass(frozen=True)
class Address:
    """A mail address in its one form: lower case, the domain as A-labels (RFC 5890 §2.3.2.1)."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"


@lru_cache(maxsize=4096)
def domain_to_ascii(text: str) -> str:
    """The domain name in `text` as lower-case A-labels, without a final dot.

    U-labels, A-labels and the full-width dots of UTS 46 are understood. Raises AddressError for
    anything but a host name of at least two labels.
    """
    name = text.strip().rstrip(".").lower()
    if not name or len(name) > DOMAIN_MAX_OCTETS:
        raise AddressError("A domain name has between 1 and 253 characters.")
    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        # Encoding takes a time that grows with the square of a label's length.
        if max(map(len, mapped.split("."))) > _LABEL_MAX:
            raise AddressError(f"“{text[:80]}” is not a valid domain name.")
        ascii_name = idna.encode(mapped).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        # Names in use that IDNA 2008 forbids (an underscore never, "r3---sn" for one) stay as they are.
        ascii_name = name
    labels = ascii_name.split(".")
    if len(labels) < 2 or len(ascii_name) > DOMAIN_MAX_OCTETS:
        raise AddressError(f"“{text[:80]}” is not a valid domain name.")
    if not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise AddressError(f"“{text[:80]}” is not a valid domain name.")
    return ascii_name


def domain_or_none(text: str) -> str | None:
    """The domain name in `text` as `domain_to_ascii` returns it, or None if it is not valid."""
    try:
        return domain_to_ascii(text)
    except AddressError:
        return None


def domain_to_unicode(name: str) -> str:
    """The domain name as a person reads it: U-labels in place of valid A-labels."""
    labels = []
    for label in name.split("."):
        try:
            labels.append(idna.decode(label) if label.startswith("xn--") else label)
        except (idna.IDNAError, UnicodeError):
            labels.append(label)
    return ".".join(labels)


def domain_forms(names: Iterable[str]) -> list[str]:
    """Each domain as A-labels and, where they differ, as U-labels, for software that converts neither."""
    return [form for name in names for form in dict.fromkeys((name, domain_to_unicode(name)))]


def parse_address(text: str) -> Address:
    """The mail address in `text`, in its one form.

    Raises AddressError if it is not valid, or if no alias may forward to it (quoted local parts,
    address literals).
    """
    local_part, at, domain = text.strip().rpartition("@")
    # Folding letters such as the Kelvin sign to ASCII would make one person's address another's.
    local_part = local_part.lower() if local_part.isascii() else ""
    if not at or not _LOCAL_PART.fullmatch(local_part) or len(local_part) > LOCAL_PART_MAX_OCTETS:
        raise AddressError(f"“{text[:80]}” is not a valid e-mail address.")
    address = Address(local_part, domain_to_ascii(domain))
    if len(str(address)) > ADDRESS_MAX_OCTETS:
        raise AddressError(f"“{text[:80]}” is too long for an e-mail address.")
    return address


def normalise_address(text: str) -> str:
    """The mail address in `text` in its one form, as text. Raises AddressError."""
    return str(parse_address(text))


def address_or_none(text: str) -> str | None:
    """The mail address in `text` in its one form, or None if it is not valid."""
    try:
        return str(parse_address(text))
    except AddressError:
        return None


def display_address(address: str) -> str:
    """The address as a person reads it: its domain in U-labels."""
    local_part, _, domain = address.rpartition("@")
    return f"{local_part}@{domain_to_unicode(domain)}"


def parse_without_tag(text: str) -> Address:
    """The address in `text` without its `+tag` (RFC 5233), as mail to it is looked up.

    Raises AddressError if what remains is not a valid address.
    """
    local_part, at, domain = text.strip().rpartition("@")
    if match := _QUOTED_WITH_TAG.fullmatch(local_part):
        # A mail server quotes a local part whose tag is not a Dot-string.
        local_part = _QUOTED_PAIR.sub(r"\1", match[1])
    base = local_part.partition("+")[0] or local_part
    return parse_address(f"{base}{at}{domain}")


def is_same_without_tag(text: str, address: str) -> bool:
    """Whether the address in `text` is `address`, which is in its one form, perhaps with a `+tag`."""
    try:
        return str(parse_without_tag(text)) == address
    except AddressError:
        return False
