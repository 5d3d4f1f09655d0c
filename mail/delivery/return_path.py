"""The envelope sender of what we send on: an address of ours that says, only to us, whose mail bounced.

`b.<tag>@<the alias's domain>`; the tag is the lower-case base32 (RFC 4648 §6) of 16 encrypted octets
(message, alias, destination or contact, day) and 16 octets of MAC: 54 octets with its prefix, of the 64
that RFC 5321 §4.5.3.1.1 allows.
"""

import base64
import hashlib
import hmac
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from django.conf import settings

from core.secret_keys import secret_keys

PREFIX = "b."
VALID = timedelta(days=14)
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_MAC_OCTETS = 16
# Above these of the first 64, the message's mark.
_ALIAS_BITS = 48
# Set in the number of a contact, so that it is no destination's.
_CONTACT = 1 << 47
_TAG_CHARACTERS = 52  # 32 octets in base32, without padding
_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
# Each ten bits as two digits, and where those of 32 octets are once they are filled up to a multiple of ten.
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_SHIFTS = range(250, -1, -10)


@dataclass(frozen=True)
class Tag:
    """Whose mail it was, and which: a mark of the message, 0 in tags that were made without one.

    A reply went to a contact, everything else to a destination.
    """

    alias_id: int
    destination_id: int | None
    message: int = 0
    day: int = 0
    contact_id: int | None = None

    @property
    def report(self) -> str:
        """What reports about the same copy of a message have in common."""
        return f"{self.alias_id}-{self.day}-{self.message}"


def _base32(octets: bytes) -> str:
    """32 octets in lower-case base32. The standard library's takes several times as long."""
    number = int.from_bytes(octets, "big") << 4
    return "".join([_PAIRS[number >> shift & 0x3FF] for shift in _SHIFTS])


@lru_cache(maxsize=16)
def _keys(secret: str) -> tuple[Cipher[modes.ECB], bytes]:
    """What encrypts (AES-128), and a key to sign with, from the installation's secret."""
    material = hashlib.sha512(b"anonmail return path\0" + secret.encode()).digest()
    # One block, never two alike: a permutation is all that is needed here.
    return Cipher(algorithms.AES(material[:16]), modes.ECB()), material[16:48]  # noqa: S305


@lru_cache(maxsize=4)
def _encryptor(secret: str) -> CipherContext:
    """What encrypts one block after the other, each by itself: it is never finished."""
    return _keys(secret)[0].encryptor()


def _mac(signing: bytes, block: bytes, domain: str) -> bytes:
    return hmac.digest(signing, block + domain.encode(), "sha256")[:_MAC_OCTETS]


def _cipher_of(block: bytes, mac: bytes, domain: str) -> Cipher[modes.ECB] | None:
    """What decrypts the block; None if none of our secret keys has signed it."""
    for secret in secret_keys():
        cipher, signing = _keys(secret)
        if hmac.compare_digest(mac, _mac(signing, block, domain)):
            return cipher
    return None


def _day(now: datetime) -> int:
    return (now - _EPOCH).days


def return_path(alias_id: int, destination_id: int, domain: str, now: datetime, digest: str = "") -> str:
    """The envelope sender for a message of this alias to this destination.

    `digest`: the message's, in hexadecimal; 16 bits of it tell a day's messages apart.
    """
    secret = settings.SECRET_KEY
    _cipher, signing = _keys(secret)
    message = int(digest[:4] or "0", 16)
    high, low = destination_id >> 32, destination_id & 0xFFFFFFFF
    plain = struct.pack(">QIHH", message << _ALIAS_BITS | alias_id, low, high, _day(now))
    block = _encryptor(secret).update(plain)
    return f"{PREFIX}{_base32(block + _mac(signing, block, domain))}@{domain}"


def return_path_of_reply(alias_id: int, contact_id: int, domain: str, now: datetime, digest: str) -> str:
    """The envelope sender for a reply from this alias to this contact."""
    return return_path(alias_id, contact_id | _CONTACT, domain, now, digest)


def looks_like_one(local_part: str) -> bool:
    """Whether the local part is a return path's, valid or not. No alias has such a local part."""
    return local_part.lower().startswith(PREFIX)


def read_return_path(local_part: str, domain: str, now: datetime) -> Tag | None:
    """Whose mail a return path stands for; None if it is forged or older than 14 days."""
    tag = local_part.lower().removeprefix(PREFIX)
    if len(tag) != _TAG_CHARACTERS or not looks_like_one(local_part):
        return None
    try:
        octets = base64.b32decode(tag.upper() + "=" * (-len(tag) % 8))
    except ValueError:
        return None
    block, mac = octets[:16], octets[16:]
    cipher = _cipher_of(block, mac, domain.lower())
    if cipher is None:
        return None
    decryptor = cipher.decryptor()
    first, low, high, day = struct.unpack(">QIHH", decryptor.update(block) + decryptor.finalize())
    if not 0 <= _day(now) - day <= VALID.days:
        return None
    alias_id, message, number = first & (1 << _ALIAS_BITS) - 1, first >> _ALIAS_BITS, high << 32 | low
    if number & _CONTACT:
        return Tag(alias_id, None, message, day, number ^ _CONTACT)
    return Tag(alias_id, number, message, day)
