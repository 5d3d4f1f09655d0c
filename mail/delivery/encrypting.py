"""A message as PGP/MIME (RFC 3156) for a destination that has a key.

All of it goes inside, beside the fields that servers and threads need. Its author's own signature (DKIM) ends
with that; so the outside is signed for the alias's domain, and comes from an address there.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace

from contacts.addresses import is_reverse_address
from contacts.showing import shown_name
from core.mailboxes import Mailbox, plain_name
from core.sparing_logs import warn_sparingly
from domains.models.dkim_key import DkimKey
from mail.delivery.authentication import results
from mail.delivery.composing import Composed
from mail.delivery.dkim import sign_with
from mail.delivery.handover import Message
from mail.delivery.hiding import AUTHOR_FIELD, LEFT_OUT_FIELD, REPLIES_FIELD, Field, Incoming, split
from mail.delivery.message import LOOP_FIELD, Octets
from mail.encryption.certificates import EncryptionAway, NotEncrypted, OpenPgpKey, encrypt
from mail.models import Caution

logger = logging.getLogger(__name__)

# What became of it, for the owner to filter by.
FIELD = "X-Anonmail-Encryption"
ENCRYPTED, CLEAR = "pgp", "none; the key cannot be used"
# RFC 9788 §3.2.1
HIDDEN_SUBJECT = b"Subject: [...]\r\n"
# Of a text that may be an encrypted message in its whole, the octets in which that must begin.
_BEGINNING = 4096
_ARMOUR, _ARMOUR_END = re.compile(rb"\s*-----BEGIN PGP MESSAGE-----"), b"-----END PGP MESSAGE-----"

_LOOP = LOOP_FIELD.lower()
_OURS = frozenset(
    {_LOOP, "x-anonmail-alias", *(name.lower() for name in (AUTHOR_FIELD, LEFT_OUT_FIELD, REPLIES_FIELD))}
)
# What tells people, threads and servers apart. Nothing else stays on the outside: other servers' reports
# quote the text, and mail programs repeat the subject (Thread-Topic).
_CONVERSATION = frozenset(
    {"from", "sender", "reply-to", "to", "cc", "date", "message-id", "in-reply-to", "references", "subject"}
)
_OUTSIDE = frozenset(
    {
        *_CONVERSATION,
        *("received", "return-path", "delivered-to", "auto-submitted", "precedence"),
        *("authentication-results", "received-spf"),
        *("x-spam-flag", "x-spam-score", "x-spam-level", "x-spam-status"),
        *("list-id", "list-help", "list-subscribe", "list-unsubscribe", "list-unsubscribe-post"),
        *("list-post", "list-owner", "list-archive"),
    }
)
# What an author's server has signed, which is not any more what goes on.
_BROKEN = frozenset({"dkim-signature", "domainkey-signature", "x-google-dkim-signature"})
_CONTENT = "content-"
# Some programs take a field with it for the end of the header.
_SPACE_BEFORE_COLON = re.compile(rb"\A([\x21-\x39\x3b-\x7e]+)[ \t]+:")


class HeldBack(Exception):
    """The message is not sent for now."""


async def for_holder(
    composed: Composed,
    message: Message,
    alias: str,
    sender_format: str | None,
    key: OpenPgpKey,
    keys: list[DkimKey],
) -> Composed:
    """The message for the holder of the key. One that is encrypted already stays as it is; and so, with a
    field that says it, does one for a key that cannot be used, if its owner wants that.

    `keys`: those that sign for the alias's domain. Raises HeldBack.
    """
    return await asyncio.to_thread(_for_holder, composed, message, alias, sender_format, key, keys)


def _for_holder(
    composed: Composed,
    message: Message,
    alias: str,
    sender_format: str | None,
    key: OpenPgpKey,
    keys: list[DkimKey],
) -> Composed:
    fields, body = _taken_apart(composed, message, alias, sender_format)
    if is_encrypted(fields, body):
        return composed
    try:
        if key.is_over:
            raise NotEncrypted
        top, content = pgp_mime(fields, body, key)
    except NotEncrypted as error:
        if key.holds_back:
            raise HeldBack from error
        warning = f"{FIELD}: {CLEAR}\r\n".encode()
        return replace(composed, top=warning + composed.top, caution=composed.caution or Caution.CLEAR)
    except EncryptionAway as error:
        warn_sparingly(logger, "message not encrypted: no room")
        raise HeldBack from error
    signed = b"" if _is_forged(message) else sign_with(keys, alias.rpartition("@")[2], top, content)
    return replace(composed, top=signed + top, content=content)


def once_more(content: bytes, alias: str, sender_format: str | None, key: OpenPgpKey) -> bytes:
    """A message that was sent to another destination before, for the holder of the key. Raises HeldBack."""
    incoming = Incoming(content, "", alias)
    author = incoming.authors[0] if incoming.authors else Mailbox("", "")
    is_hidden = is_reverse_address(author.address)
    fields = incoming.fields
    if not is_hidden and not results([(field.name, field.text) for field in fields]).is_forged:
        fields = incoming.under_alias(_shown(incoming, sender_format))
    if is_encrypted(fields, incoming.body):
        return content
    try:
        if key.is_over:
            raise NotEncrypted
        return b"".join(pgp_mime(fields, incoming.body, key))
    except NotEncrypted as error:
        if key.holds_back:
            raise HeldBack from error
        return f"{FIELD}: {CLEAR}\r\n".encode() + content
    except EncryptionAway as error:
        raise HeldBack from error


def _shown(incoming: Incoming, sender_format: str | None) -> str:
    """The name under which the alias stands for the author."""
    if not incoming.authors:
        return ""
    author = incoming.authors[0]
    return shown_name(sender_format or "AT", plain_name(author.name), author.address)


def _is_forged(message: Message) -> bool:
    """Whether the author may be forged: behind an address and a signature of ours, nobody would see that."""
    return results(message.head.fields).is_forged


def _taken_apart(
    composed: Composed, message: Message, alias: str, sender_format: str | None
) -> tuple[list[Field], Octets]:
    """The whole header, ours first, and the body."""
    top, _start = split(composed.top)
    if composed.has_whole_header:
        return top, composed.content
    incoming = Incoming(bytes(composed.content), message.sender, alias)
    ours = [field for field in top if field.name in _OURS or field.name in _OUTSIDE]
    fields = incoming.fields
    if not _is_forged(message):
        fields = incoming.under_alias(_shown(incoming, sender_format))
    return [*ours, *(each for each in fields if each.name not in _OURS or each.name == _LOOP)], incoming.body


def is_encrypted(fields: Sequence[Field], body: Octets) -> bool:
    """Whether the message is encrypted already: PGP/MIME, S/MIME, or a text that is nothing else."""
    kind = next((field.text for field in fields if field.name == "content-type"), "text/plain").lower()
    name, _semicolon, parameters = kind.partition(";")
    match name.strip():
        case "multipart/encrypted":
            return True
        case "application/pkcs7-mime" | "application/x-pkcs7-mime":
            # RFC 8551 §3.2.2; signed data is in the clear.
            return re.search(r"smime-type\s*=\s*\"?(auth-?)?enveloped-data", parameters) is not None
        case "text/plain":
            last = bytes(body[-_BEGINNING:]).rstrip()
            if _ARMOUR.match(bytes(body[:_BEGINNING])) is None or not last.endswith(_ARMOUR_END):
                return False
            # Between two such messages, there may be text in clear.
            return bytes(body).count(_ARMOUR_END) == 1
    return False


def pgp_mime(fields: Sequence[Field], body: Octets, key: OpenPgpKey) -> tuple[bytes, bytes]:
    """The header with the empty line after it, and the body. Raises NotEncrypted, EncryptionAway."""
    kept = [
        Field(field.name, _SPACE_BEFORE_COLON.sub(rb"\1:", field.octets))
        for field in fields
        if field.name not in _BROKEN and not field.name.startswith("arc-")
    ]
    outside, inside = _divided(kept, hides_subject=key.hides_subject)
    content = b"".join(_entity(kept, outside, inside, body, hides_subject=key.hides_subject))
    armoured = encrypt(key.certificate, content)
    del content
    mark = secrets.token_hex(16)
    header = [
        f"{FIELD}: {ENCRYPTED}\r\n".encode(),
        *(field.octets for field in outside),
        b"MIME-Version: 1.0\r\n",
        b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n',
        f'\tboundary="{mark}"\r\n\r\n'.encode(),
    ]
    parts = (
        f"--{mark}\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--{mark}\r\n".encode(),
        b'Content-Type: application/octet-stream; name="encrypted.asc"\r\n'
        b'Content-Disposition: inline; filename="encrypted.asc"\r\n\r\n',
        armoured.replace(b"\n", b"\r\n"),
        f"\r\n--{mark}--\r\n".encode(),
    )
    return b"".join(header), b"".join(parts)


def _divided(fields: Iterable[Field], *, hides_subject: bool) -> tuple[list[Field], list[Field]]:
    """The fields on the outside, and those that go inside alone; what describes the content is in neither."""
    outside, inside = [], []
    for field in fields:
        if field.name.startswith(_CONTENT) or field.name == "mime-version":
            continue
        if field.name not in _OUTSIDE and field.name not in _OURS:
            inside.append(field)
        elif field.name == "subject" and hides_subject:
            outside.append(Field("subject", HIDDEN_SUBJECT))
        else:
            outside.append(field)
    return outside, inside


def _entity(
    fields: Sequence[Field],
    outside: Sequence[Field],
    inside: Sequence[Field],
    body: Octets,
    *,
    hides_subject: bool,
) -> Iterable[Octets]:
    """What is encrypted: the content as it came, below the fields that are only there. With a hidden subject,
    within a part that has the header again (RFC 9788; `protected-headers` is its older form)."""
    described = [field.octets for field in fields if field.name.startswith(_CONTENT)]
    if not hides_subject:
        yield from (field.octets for field in inside)
        yield from (*described, b"\r\n", body)
        return
    mark = secrets.token_hex(16)
    yield f'Content-Type: multipart/mixed; boundary="{mark}";\r\n'.encode()
    yield b'\tprotected-headers="v1"; hp="cipher"\r\n'
    yield from (field.octets for field in fields if field.name in _CONVERSATION)
    yield from (field.octets for field in inside)
    yield from (b"HP-Outer: " + field.octets for field in outside if field.name in _CONVERSATION)
    yield from (f"\r\n--{mark}\r\n".encode(), *described, b"\r\n", body, f"\r\n--{mark}--\r\n".encode())
