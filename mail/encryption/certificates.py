"""Reading an OpenPGP public key that somebody gives for a destination, and encrypting to it.

Sequoia (pysequoia) decides what is valid. It is imported with the first key, not with this module: a process
that never meets one does without its 3 MB.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.utils import timezone
from django.utils.translation import gettext

from core.exceptions import RuleError
from mail.encryption import child, packets
from mail.encryption.packets import Packet

# Octets of a key as it is pasted. One of a well-known person may have gathered more with strangers'
# signatures, which encryption does not need: `gpg --export-options export-minimal` leaves them out.
KEY_MAX = 64 * 1024
# Packets of a key, and of these its subkeys and user ids.
PACKETS_MAX, SUBKEYS_MAX, USER_IDS_MAX = 400, 20, 50
# Parts to which a message is encrypted: each costs up to 2.3 ms (P-521), in which no other thread runs.
ENCRYPTING_MAX = 5
# Octets of one key packet, without its signatures: the largest of RFC 9580 and of its post-quantum
# extension have fewer. And bits of RSA: fewer are weak (NIST SP 800-57), more cost the time of a message.
KEY_PACKET_MAX = 4096
RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192
# Octets of a content that is encrypted by a process of its own, and the seconds that it has.
ASIDE = 1024 * 1024
ASIDE_SECONDS = 60.0


class UnusableKey(RuleError, code="unusable_key"):
    """Nothing can be encrypted to this key, or nothing should be. The text says why."""


class NotEncrypted(Exception):
    """The library refuses the key, which was good before."""


class EncryptionAway(Exception):
    """This machine has no room for encrypting just now."""


@dataclass(frozen=True)
class Certificate:
    """A public key. `octets`: without armour. `expires_at`: when nothing can be encrypted to it any more;
    None for never. `addresses`: those that its user ids name, in lower case."""

    octets: bytes
    fingerprint: str
    expires_at: datetime | None
    addresses: frozenset[str]


class OpenPgpKey(NamedTuple):
    """A destination's key, as sending needs it. `holds_back`: whether mail waits while it cannot be used."""

    certificate: bytes
    expires_at: datetime | None
    holds_back: bool
    hides_subject: bool

    @property
    def is_over(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


def read(given: bytes) -> Certificate:
    """The one public key in these octets, with or without armour. Raises UnusableKey."""
    if len(given) > KEY_MAX:
        raise UnusableKey(
            gettext(
                "The key is larger than %(max)s KiB. Export it without other people's signatures: "
                "gpg --armor --export-options export-minimal --export <fingerprint>"
            )
            % {"max": KEY_MAX // 1024}
        )
    octets = _vetted(given)
    with _library(gettext("This is not a valid OpenPGP public key.")) as pysequoia:
        cert = pysequoia.Cert.from_bytes(octets)
        # Without what is no part of it.
        octets = bytes(cert)
        if cert.is_revoked:
            raise UnusableKey(gettext("This key has been revoked."))
        parts = list(pysequoia.packet.PacketPile.from_bytes(octets))
    with _library(
        gettext("The signatures of this key are missing, broken or too weak (SHA-1). Make a newer key.")
    ):
        primary_expires, valid = cert.expiration, {str(user_id) for user_id in cert.user_ids}
    used = _encrypting(cert)
    if len(used) > ENCRYPTING_MAX:
        raise UnusableKey(
            gettext("This key has more than %(max)s parts for encryption. Revoke those that you do not use.")
            % {"max": ENCRYPTING_MAX}
        )
    with _library(gettext("This is not a valid OpenPGP public key.")):
        # Of some odd signatures, the library does not even tell the kind.
        ends = [_binding_ends(parts, cert.fingerprint, key) for key in used]
        addresses = {part.user_id_email for part in parts if part.user_id_email and part.user_id in valid}
    expires_at = None if None in ends else max(end for end in ends if end)
    if primary_expires is not None:
        expires_at = min(primary_expires, expires_at or primary_expires)
    if expires_at is not None and expires_at <= timezone.now():
        raise UnusableKey(gettext("This key has expired. Extend it, and give its public part again."))
    return Certificate(octets, cert.fingerprint, expires_at, frozenset(each.lower() for each in addresses))


def fingerprint_of(given: bytes) -> str:
    """The fingerprint of a key that may have expired since it was read. Raises UnusableKey."""
    octets = _vetted(given)
    with _library(gettext("This is not a valid OpenPGP public key.")) as pysequoia:
        return str(pysequoia.Cert.from_bytes(octets).fingerprint)


def encrypt(octets: bytes, content: bytes) -> bytes:
    """The content for the holder of this public key, in armour (RFC 3156 §4). Raises NotEncrypted, and
    EncryptionAway.

    The library lets no other thread run meanwhile, for 9 ms with 1 MB: a large content goes to a process of
    its own.
    """
    if len(content) > ASIDE:
        return _encrypt_aside(octets, content)
    try:
        with _library("") as pysequoia:
            return bytes(pysequoia.encrypt(content, [pysequoia.Cert.from_bytes(octets)]))
    except UnusableKey as error:
        raise NotEncrypted from error
    except MemoryError as error:
        raise EncryptionAway from error


def _encrypt_aside(octets: bytes, content: bytes) -> bytes:
    try:
        process = subprocess.Popen(  # noqa: S603 - a program of ours, without arguments of anybody's
            [sys.executable, "-P", child.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise EncryptionAway from error
    with process:
        try:
            encrypted, _nothing = process.communicate(
                b"".join((len(octets).to_bytes(4), octets, content)), timeout=ASIDE_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            process.kill()
            raise EncryptionAway from error
    if process.returncode == child.REFUSED:
        raise NotEncrypted
    if process.returncode or not encrypted:
        raise EncryptionAway
    return encrypted


@contextmanager
def _library(refusal: str) -> Iterator[Any]:
    """The library; what it raises becomes UnusableKey with this text, unless there is no memory. It may panic
    at what it is given, which is no Exception."""
    import pysequoia

    try:
        yield pysequoia
    except (RuleError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UnusableKey(refusal) from error


def _vetted(given: bytes) -> bytes:
    """The key's octets without armour. Raises UnusableKey for what the library need not see."""
    if packets.has_secret(given):
        raise _secret()
    if packets.number_of_blocks(given) > 1:
        raise _several()
    try:
        octets = packets.bare(given)
        found = []
        for packet in packets.packets(octets):
            found.append(packet)
            if len(found) > PACKETS_MAX:
                raise _too_much()
        _check(found)
    except packets.Unreadable as error:
        raise UnusableKey(gettext("This is not an OpenPGP public key.")) from error
    return octets


def _check(found: list[Packet]) -> None:
    tags = [packet.tag for packet in found]
    if {packets.SECRET_KEY, packets.SECRET_SUBKEY} & set(tags):
        raise _secret()
    if not tags or tags[0] != packets.PUBLIC_KEY or not packets.IN_A_KEY.issuperset(tags):
        raise packets.Unreadable
    if tags.count(packets.PUBLIC_KEY) > 1:
        raise _several()
    if tags.count(packets.PUBLIC_SUBKEY) > SUBKEYS_MAX or tags.count(packets.USER_ID) > USER_IDS_MAX:
        raise _too_much()
    for packet in found:
        if packet.tag in {packets.PUBLIC_KEY, packets.PUBLIC_SUBKEY}:
            _check_strength(packet)


def _check_strength(packet: Packet) -> None:
    if len(packet.body) > KEY_PACKET_MAX:
        raise _too_much()
    algorithm = packet.algorithm
    if algorithm in packets.OF_DSA:
        raise UnusableKey(gettext("This key uses DSA or ElGamal, which are outdated. Make a newer key."))
    if algorithm in packets.OF_RSA and not RSA_BITS_MIN <= packet.rsa_bits <= RSA_BITS_MAX:
        raise UnusableKey(
            gettext("This key uses RSA with %(bits)s bits; it must have %(min)s to %(max)s.")
            % {"bits": packet.rsa_bits, "min": RSA_BITS_MIN, "max": RSA_BITS_MAX}
        )


def _secret() -> UnusableKey:
    return UnusableKey(
        gettext(
            "This is a secret key. Never give it away: if others saw it, what it protects is no longer "
            "safe. Give the public key, which begins with “BEGIN PGP PUBLIC KEY BLOCK”."
        )
    )


def _several() -> UnusableKey:
    return UnusableKey(gettext("These are several keys. Give exactly one."))


def _too_much() -> UnusableKey:
    return UnusableKey(gettext("This key has too many parts. Export it without other people's signatures."))


def _encrypting(cert: Any) -> list[str]:
    """The key ids or fingerprints of those parts of the key that the library encrypts to. Raises UnusableKey.

    It has no other way to say which these are than a message to them.
    """
    with _library(gettext("This key has no part that is valid for encryption.")) as pysequoia:
        message = pysequoia.encrypt(b"", [cert], armor=False)
    # RFC 9580 §5.1: version 3 has the key id, version 6 a length, the key's version and its fingerprint.
    bodies = [packet.body for packet in packets.packets(message) if packet.tag == packets.SESSION_KEY]
    return [(body[3 : 2 + body[1]] if body[0] == 6 else body[1:9]).hex() for body in bodies]


def _binding_ends(parts: list[Any], primary: str, key: str) -> datetime | None:
    """When this part of the key expires, as the newest signature that binds it to the primary key says; None
    for never. If all parts have expired, the library encrypts to them nevertheless."""
    from pysequoia.packet import SignatureType, Tag

    newest, period, created, is_its = None, None, None, False
    for part in parts:
        if part.tag in (Tag.PublicKey, Tag.PublicSubkey):
            is_its = key in {part.fingerprint, part.key_id}
            created = part.key_created if is_its else created
        elif is_its and part.tag == Tag.Signature and part.signature_type == SignatureType.SubkeyBinding:
            made = part.signature_created
            if part.issuer_fingerprint in {None, primary} and made and (newest is None or made > newest):
                newest, period = made, part.key_validity_period
    return created + period if created and period else None
