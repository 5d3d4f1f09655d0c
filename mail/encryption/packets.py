"""OpenPGP's outer form (RFC 9580 §4, §6): armour, and which packets there are.

Keys come from strangers. What this module lets through has a bounded number of bounded packets, of the kinds
that a public key consists of: no compressed data, which the library would unpack without a bound.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

_BEGIN, _END = b"-----BEGIN PGP ", b"-----END PGP "
_BLOCK = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)
# Fields of the armour's header, which say nothing about the key.
_ARMOUR_FIELD = re.compile(rb"[A-Za-z-]+: .*")
_CHECKSUM = re.compile(rb"=[A-Za-z0-9+/]{4}")

SESSION_KEY = 1
PUBLIC_KEY, PUBLIC_SUBKEY, SECRET_KEY, SECRET_SUBKEY = 6, 14, 5, 7
SIGNATURE, USER_ID, USER_ATTRIBUTE, TRUST, MARKER, PADDING = 2, 13, 17, 12, 10, 21
IN_A_KEY = {PUBLIC_KEY, PUBLIC_SUBKEY, SIGNATURE, USER_ID, USER_ATTRIBUTE, TRUST, MARKER, PADDING}

# RFC 9580 §9.1
RSA, RSA_ENCRYPTS, RSA_SIGNS, ELGAMAL, DSA, ELGAMAL_SIGNS = 1, 2, 3, 16, 17, 20
OF_RSA = {RSA, RSA_ENCRYPTS, RSA_SIGNS}
OF_DSA = {ELGAMAL, DSA, ELGAMAL_SIGNS}


class Unreadable(Exception):
    """These octets are no OpenPGP packets."""


@dataclass(frozen=True)
class Packet:
    """A packet's kind (RFC 9580 §5), and its body."""

    tag: int
    body: bytes

    @property
    def algorithm(self) -> int:
        """Of a key: the number of its algorithm (RFC 9580 §5.5.2)."""
        if len(self.body) < 8:
            raise Unreadable
        return self.body[5]

    @property
    def rsa_bits(self) -> int:
        """Of an RSA key: the length of its modulus, which is the first of its numbers."""
        start = {3: 8, 4: 6, 6: 10}.get(self.body[0], 6)
        return int.from_bytes(self.body[start : start + 2])


def has_secret(octets: bytes) -> bool:
    """Whether it is a secret key in armour."""
    return b"PGP PRIVATE KEY BLOCK" in octets or b"PGP SECRET KEY BLOCK" in octets


def number_of_blocks(octets: bytes) -> int:
    """How many armoured blocks of any kind there are."""
    return octets.count(_BEGIN)


def bare(octets: bytes) -> bytes:
    """The packets' octets without armour, which may stand among other text. Raises Unreadable."""
    if octets[:1] and octets[0] & 0x80 and _BEGIN not in octets:
        return octets
    found = _BLOCK.search(octets)
    if found is None:
        raise Unreadable
    lines = [line.strip() for line in found[1].splitlines()]
    lines = [line for line in lines if line and not _ARMOUR_FIELD.fullmatch(line)]
    if lines and _CHECKSUM.fullmatch(lines[-1]):
        lines.pop()
    try:
        return base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error as error:
        raise Unreadable from error


def packets(octets: bytes) -> Iterator[Packet]:
    """The packets one after the other. Raises Unreadable, also for lengths that only data may have."""
    at = 0
    while at < len(octets):
        first = octets[at]
        if not first & 0x80:
            raise Unreadable
        try:
            if first & 0x40:
                tag, at, length = first & 0x3F, *_new_length(octets, at + 1)
            else:
                tag, at, length = first >> 2 & 0x0F, *_old_length(octets, at + 1, first & 3)
        except IndexError as error:
            raise Unreadable from error
        body = octets[at : at + length]
        if len(body) < length:
            raise Unreadable
        yield Packet(tag, body)
        at += length


def _new_length(octets: bytes, at: int) -> tuple[int, int]:
    """Where the body begins, and its length (RFC 9580 §4.2.1)."""
    first = octets[at]
    if first < 192:
        return at + 1, first
    if first < 224:
        return at + 2, (first - 192 << 8) + octets[at + 1] + 192
    if first < 255:
        # Partial lengths are for data.
        raise Unreadable
    return at + 5, int.from_bytes(octets[at + 1 : at + 5])


def _old_length(octets: bytes, at: int, kind: int) -> tuple[int, int]:
    """The same for the older form (RFC 9580 §4.2.2)."""
    if kind == 3:
        raise Unreadable
    size = 1 << kind
    if at + size > len(octets):
        raise Unreadable
    return at + size, int.from_bytes(octets[at : at + size])
