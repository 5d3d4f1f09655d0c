"""The Message-IDs of replies: our own instead of the mailbox's, which would show its host, and back again.

`<m.<tag>@<the alias's domain>`; the tag is base64url of the mailbox's own Message-ID, encrypted (AES-SIV, RFC
5297). That needs no table, and the same Message-ID always becomes the same one, so that threads hold.
"""

import base64
import hashlib
import re
from binascii import Error as BadBase64
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from django.conf import settings

from core.secret_keys import secret_keys

# Most Message-IDs are shorter than this: what is padded to a multiple of it does not show its length.
_BLOCK_OCTETS = 96
# Octets of a Message-ID, and how many of a thread are kept: the first and the last ones.
_ID_MAX = 400
KEPT_MAX = 30
_ID = re.compile(r"<[^<>\s]+>")
_OURS = re.compile(r"<m\.([A-Za-z0-9_-]+)@[A-Za-z0-9.-]+>")


@lru_cache(maxsize=16)
def _cipher(secret: str) -> AESSIV:
    return AESSIV(hashlib.sha512(b"anonmail message id\0" + secret.encode()).digest())


def ids_in(text: str) -> list[str]:
    """The Message-IDs in a field, in order, each once; of a long thread, the first and the last ones."""
    found = [each for each in dict.fromkeys(_ID.findall(text)) if len(each.encode()) <= _ID_MAX]
    return found if len(found) <= KEPT_MAX else found[:1] + found[1 - KEPT_MAX :]


def outgoing_id(alias: str, message_id: str) -> str:
    """What the correspondents of an alias see of the mailbox's own Message-ID."""
    plain = message_id.encode()
    plain += b"\0" * (-len(plain) % _BLOCK_OCTETS)
    tag = _cipher(settings.SECRET_KEY).encrypt(plain, [alias.encode()])
    return f"<m.{base64.urlsafe_b64encode(tag).decode('ascii').rstrip('=')}@{alias.rpartition('@')[2]}>"


def original_id(alias: str, message_id: str) -> str | None:
    """The mailbox's own Message-ID again; None if this is not one of ours, or another alias's."""
    match = _OURS.fullmatch(message_id)
    if match is None:
        return None
    try:
        tag = base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4))
    except (BadBase64, ValueError):
        return None
    for key in secret_keys():
        try:
            plain = _cipher(key).decrypt(tag, [alias.encode()])
        except (ValueError, InvalidTag):
            continue
        return plain.rstrip(b"\0").decode("utf-8", "replace")
    return None


def for_owner(alias: str, field: str, text: str) -> str:
    """In-Reply-To or References of a correspondent's mail, as the owner's mailbox knows the messages.

    References keeps our own Message-IDs beside the mailbox's: so that the next reply shows which those are.
    "" if none of ours is in it: then the field is right as it is.
    """
    if not any(original_id(alias, each) for each in ids_in(text)):
        return ""
    mapped: list[str] = []
    for each in ids_in(text):
        original = original_id(alias, each)
        if original is None or field == "references":
            mapped.append(each)
        if original is not None:
            mapped.append(original)
    return folded(mapped)


def for_correspondent(alias: str, ids: Sequence[str], is_own: Callable[[str], bool]) -> dict[str, str]:
    """For each Message-ID that a reply refers to, how the correspondent knows the message.

    `is_own`: whether one is the mailbox's; those beside which our own stands need not be asked about.
    """
    shown: dict[str, str] = {}
    for each in ids:
        if original := original_id(alias, each):
            shown[original] = shown[each] = each
    for each in ids:
        if each not in shown:
            shown[each] = outgoing_id(alias, each) if is_own(each) else each
    return shown


def folded(ids: Iterable[str]) -> str:
    """The Message-IDs as they stand in a field, one a line."""
    return "\r\n ".join(ids)
