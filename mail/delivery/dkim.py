"""Signing a message with its domain's DKIM keys (RFC 6376, RFC 8463)."""

import base64
import hashlib
import logging
import re
import time
from collections.abc import Iterator, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from django.conf import settings

from core.sealing import CannotUnseal
from domains.models.dkim_key import DkimKey, signing_keys
from mail.delivery.message import PIECE, Octets

logger = logging.getLogger(__name__)

OURS = "ours"
# Signed once more than they occur, so that nobody can add another one (RFC 6376 §8.15).
OVERSIGNED = ("from", "to", "cc", "subject", "reply-to")
# Signed as often as they occur (RFC 6376 §5.4.1, and what decides how the body is read).
SIGNED = (
    *OVERSIGNED,
    *("date", "message-id", "in-reply-to", "references", "sender"),
    *("mime-version", "content-type", "content-transfer-encoding", "content-id", "content-description"),
    *("resent-date", "resent-from", "resent-to", "resent-cc"),
    *("list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post", "list-post", "list-archive"),
)
_LINE_MAX = 72

_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_NAME = re.compile(r"[\x21-\x39\x3b-\x7e]+")
_WHITE_SPACE = re.compile(rb"[ \t]+")
_LINE_END = re.compile(rb"\r\n")

Fields = dict[str, list[bytes]]


def sign(domain: str, content: bytes) -> bytes:
    """The DKIM-Signature fields to put on top of the message, one for each of the domain's keys.

    `domain` is that of From, in A-labels; `content` is exactly what will be sent, with CRLF at each line
    end. Empty if the domain has no key whose record is in the DNS, or if the message has no From.
    """
    if settings.MAIL_DKIM != OURS or content.startswith(b"\r\n"):
        return b""
    header, _empty_line, body = content.partition(b"\r\n\r\n")
    return sign_with(signing_keys(domain), domain, header, body)


def sign_with(keys: Sequence[DkimKey], domain: str, header: bytes, body: Octets) -> bytes:
    """The same with these keys of the domain (domains.models.dkim_key.signing_keys), without the database,
    and without a copy of the body."""
    if not keys or settings.MAIL_DKIM != OURS:
        return b""
    fields = _fields(header)
    if "from" not in fields:
        return b""
    names = [name for name in SIGNED for _ in range(len(fields.get(name, ())) + (name in OVERSIGNED))]
    header = b"".join(_signed_fields(names, fields))
    body_hash = hashlib.sha256()
    for piece in relaxed_body(body):
        body_hash.update(piece)
    tags = f"h={_folded(':'.join(names), ':')};\r\n\tbh={base64.b64encode(body_hash.digest()).decode()};"
    made = []
    for key in keys:
        try:
            made.append(_signature(domain, key, tags, header))
        except CannotUnseal:
            logger.error("DKIM key %s was created under another SECRET_KEY", key.pk)
    return b"".join(made)


def _signature(domain: str, key: DkimKey, tags: str, header: bytes) -> bytes:
    """The field, with the tags that say what is signed. `header`: the signed fields. Raises CannotUnseal."""
    private = key.private
    value = (
        f"v=1; a={key.algorithm}-sha256; c=relaxed/relaxed; d={domain};\r\n"
        f"\ts={key.selector}; t={int(time.time())};\r\n"
        f"\t{tags}\r\n"
        "\tb="
    )
    signed = header + b"dkim-signature:" + relaxed(value.encode("ascii"))
    if isinstance(private, Ed25519PrivateKey):
        signature = private.sign(hashlib.sha256(signed).digest())
    else:
        signature = private.sign(signed, PKCS1v15(), SHA256())
    text = base64.b64encode(signature).decode("ascii")
    lines = [text[start : start + _LINE_MAX] for start in range(0, len(text), _LINE_MAX)]
    return ("DKIM-Signature: " + value + "\r\n\t".join(lines) + "\r\n").encode("ascii")


def _folded(text: str, at: str) -> str:
    """The text in lines of at most _LINE_MAX, broken after `at`."""
    lines = [""]
    for piece in text.split(at):
        if len(lines[-1]) + len(piece) > _LINE_MAX:
            lines.append("")
        lines[-1] += piece + at
    return "\r\n\t".join(lines).removesuffix(at)


def _signed_fields(names: list[str], fields: Fields) -> Iterator[bytes]:
    """The signed fields in order; of several with one name, the last comes first (RFC 6376 §5.4.2)."""
    left = {name: list(values) for name, values in fields.items()}
    for name in names:
        if left.get(name):
            yield name.encode() + b":" + relaxed(left[name].pop()) + b"\r\n"


def _fields(header: bytes) -> Fields:
    """The values of the header's fields by their lower-case names, in order."""
    found: Fields = {}
    for field in _FIELD_END.split(header):
        head, colon, value = field.partition(b":")
        name = head.decode("latin-1").rstrip(" \t").lower()
        if colon and _NAME.fullmatch(name):
            found.setdefault(name, []).append(value)
    return found


def relaxed(value: bytes) -> bytes:
    """A field's value in "relaxed" form (RFC 6376 §3.4.2)."""
    return _WHITE_SPACE.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")


def relaxed_body(body: Octets, size: int = PIECE) -> Iterator[bytes]:
    """The body in "relaxed" form (RFC 6376 §3.4.4), in pieces of about this size. A line stays whole."""
    begin, line_ends, is_empty = 0, 0, True
    while begin < len(body):
        found = _LINE_END.search(body, begin + size)
        end = found.end() if found else len(body)
        piece = _relaxed_lines(bytes(body[begin:end]))
        begin, end = end, len(piece)
        while piece.endswith(b"\r\n", 0, end):
            end -= 2
        if end:
            # Those after the last line with something in it are one.
            yield b"\r\n" * line_ends + piece[:end]
            line_ends = 0
        line_ends += (len(piece) - end) // 2
        is_empty = is_empty and not end
    if not is_empty:
        yield b"\r\n"


def _relaxed_lines(lines: bytes) -> bytes:
    if not lines.endswith(b"\r\n"):
        lines += b"\r\n"
    if b"\t" in lines or b"  " in lines:
        lines = _WHITE_SPACE.sub(b" ", lines)
    return lines.replace(b" \r\n", b"\r\n")
