"""Correspondents' addresses in their one form, and the form of reverse addresses. No Django here."""

import re
import secrets
import string
import unicodedata

from core.addresses import (
    ADDRESS_MAX_OCTETS,
    LOCAL_PART_MAX_OCTETS,
    AddressError,
    address_or_none,
    domain_to_ascii,
    is_same_without_tag,
)

PREFIX = "r."
_ALPHABET = string.ascii_lowercase + "234567"  # base32 (RFC 4648 §6), lower case
_CHARACTERS = 26  # 130 random bits
_REVERSE = re.compile(rf"r\.[a-z2-7]{{{_CHARACTERS}}}")
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"')
# What separates, or quotes, in a header (RFC 5322 §3.2.3), and every kind of white space.
_SPECIAL = re.compile(r'[\s\x00-\x20\x7f-\x9f"(),:;<>@\[\]\\]')


def correspondent_address(text: str) -> str:
    """The address in its one form: lower case, the domain as A-labels.

    Unlike `core.addresses.normalise_address`, it takes all local parts that a correspondent may have: quoted
    ones (RFC 5321 §4.1.2) and such as are not ASCII (RFC 6531). Raises AddressError if it is not valid.
    """
    if plain := address_or_none(text):
        return plain
    local_part, at, domain = text.strip().rpartition("@")
    local_part = unicodedata.normalize("NFC", local_part)
    is_quoted = bool(_QUOTED.fullmatch(local_part))
    if not at or local_part.isascii() is not is_quoted or not (is_quoted or _is_unquoted(local_part)):
        raise AddressError(f"“{text[:80]}” is not a valid e-mail address.")
    address = f"{local_part.lower()}@{domain_to_ascii(domain)}"
    octets = len(local_part.lower().encode("utf-8"))
    if octets > LOCAL_PART_MAX_OCTETS or len(address.encode("utf-8")) > ADDRESS_MAX_OCTETS:
        raise AddressError(f"“{text[:80]}” is too long for an e-mail address.")
    return address


def _is_unquoted(local_part: str) -> bool:
    try:
        local_part.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return all(local_part.split(".")) and not _SPECIAL.search(local_part)


def correspondent_in_tag(text: str, alias: str) -> str:
    """The correspondent in the alias's tag, in addy.io's form `alias+user=domain@…`; "" without one.

    The last `=` stands for the `@`. Neither a reverse address nor the alias itself is a correspondent's.
    """
    local_part = text.rpartition("@")[0]
    user, _equals, domain = local_part.partition("+")[2].rpartition("=")
    if not user or not local_part.isascii() or len(local_part) > LOCAL_PART_MAX_OCTETS:
        return ""
    if not is_same_without_tag(text, alias):
        return ""
    address = address_or_none(f"{user}@{domain}") or ""
    return "" if is_reverse_address(address) or is_same_without_tag(address, alias) else address


def new_reverse_address(domain: str) -> str:
    """An address at this domain that nobody can guess."""
    return f"{PREFIX}{''.join(secrets.choice(_ALPHABET) for _ in range(_CHARACTERS))}@{domain}"


def looks_like_reverse(local_part: str) -> bool:
    """Whether the local part is a reverse address's, given out or not. No alias has such a local part."""
    return bool(_REVERSE.fullmatch(local_part.lower()))


def is_reverse_address(address: str) -> bool:
    """Whether the address is in the form of a reverse address, on any domain; a `+tag` changes nothing."""
    local_part = address.rpartition("@")[0].strip()
    return looks_like_reverse(local_part.removeprefix('"').partition("+")[0])
