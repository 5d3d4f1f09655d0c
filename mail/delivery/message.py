"""Reading a message's header and adding trace fields on top; its own octets stay as they are."""

import hmac
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache

from django.conf import settings

from core.mailboxes import mailboxes
from core.secret_keys import secret_keys

# More hops than any honest path has: at least 100 (RFC 5321 §6.3), and those of this site's own servers.
HOPS_MAX = 110
LOOP_FIELD = "X-Anonmail-Loop"
_LOOP_NAME = LOOP_FIELD.lower()
# Octets of a header that are looked at.
HEADER_MAX = 256 * 1024
# Characters of a From field, and octets of a line, that are looked at.
_FROM_MAX = 1000
_BEGINNING = 1000
# A field (RFC 5322 §2.2) with the lines into which it is folded, or a line that is not one; no empty line.
_FIELD_OR_LINE = re.compile(
    rb"(?:([\x21-\x39\x3b-\x7e]+)[ \t\x0b\x0c]*:([^\r\n]*(?:(?:\r\n|\n|\r)[ \t][^\r\n]*)*)|[^\r\n]+)"
    rb"(?:\r\n|\n|\r|\Z)"
)
# What begins a field for the most lenient of readers; and the line that a mailbox file puts on top.
_FIELD = re.compile(rb"[^\x00-\x20:\x7f]+[ \t]*:")
_MAILBOX_LINE = re.compile(rb">*From ")
_LINE = re.compile(rb"([^\r\n]*)(?:\r\n|\n|\r|\Z)")
# A line end that is not followed by the folded rest of the same field (RFC 5322 §2.2.3).
_FIELD_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?![ \t])")
HEADER_END = re.compile(rb"\r?\n\r?\n")
# What follows a delimiter line (RFC 2046 §5.1.1), as far as it consists of fields.
_PART_HEADER = re.compile(
    rb"(?m)^--[^\r\n]+\r?\n((?:[\x21-\x39\x3b-\x7e]+[ \t]*:[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*)+)"
)
# The everyday forms of a From field, which all parsers read alike: `Name <address>`, and an address alone.
_ADDRESS = r"([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+)"
_MAILBOX = re.compile(rf"[A-Za-z0-9 ._-]*<{_ADDRESS}>|{_ADDRESS}")
# What a Received field does not show of a client's own name.
_UNSHOWN = re.compile(r"[^A-Za-z0-9.:()\[\]_ -]")
Fields = Sequence[tuple[str, str]]
# A view of a large message's body is no copy of it.
Octets = bytes | memoryview
# Octets of a message that are worked on at once.
PIECE = 256 * 1024


def pieces_of(octets: Octets) -> Iterator[bytes]:
    """The octets in pieces that are worked on one after the other."""
    return (bytes(octets[begin : begin + PIECE]) for begin in range(0, len(octets), PIECE))


def is_ascii(octets: Octets) -> bool:
    return all(piece.isascii() for piece in pieces_of(octets))


def header_fields(message: bytes) -> Iterator[tuple[str, str]]:
    """The header's fields as (lower-case name, unfolded text), in order, however odd the line ends."""
    if joint(message) == _NO_HEADER:
        return
    position = 0
    while match := _FIELD_OR_LINE.match(message, position, HEADER_MAX):
        name, body = match.groups()
        if name is not None:
            text = body.translate(None, b"\r\n").decode("utf-8", "replace").strip()
            yield name.decode("ascii").lower(), text
        position = match.end()


def received_at(fields: Fields) -> datetime | None:
    """When the last server before us received the message, as its Received field says (RFC 5321 §4.4)."""
    text = next((text for name, text in fields if name == "received"), "")
    try:
        moment = parsedate_to_datetime(text.rpartition(";")[2])
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def needs_utf8(message: Octets, top: bytes = b"") -> bool:
    """Whether a header of the message, or of one of its parts, is not ASCII (RFC 6532): such a message
    may be handed only to a server that offers SMTPUTF8. `top`: what of its header is above the octets in
    `message`."""
    if not top.isascii():
        return True
    if is_ascii(message):
        return False
    begin = 0
    if not top.endswith(b"\r\n\r\n") and message[:2] != b"\r\n":
        end = HEADER_END.search(message)
        begin = end.end() if end else len(message)
    parts = _PART_HEADER.finditer(message, begin)
    return not is_ascii(message[:begin]) or any(not part[1].isascii() for part in parts)


# What goes between our fields and a message without a header: the line that ends ours.
_NO_HEADER = b"\r\n"


def joint(message: bytes) -> bytes:
    """What goes between our fields and the message, so that both are read as what they are.

    A message that begins with no field has no header, and all of it is its body: an empty line comes
    before it. The first line of a mailbox file becomes a field, as Postfix makes one of it (cleanup(8)).
    """
    if not message or message.startswith(b"\r\n") or _FIELD.match(message, 0, _BEGINNING):
        return b""
    if _MAILBOX_LINE.match(message, 0, _BEGINNING):
        line = _LINE.match(message, 0, HEADER_MAX)
        end = line.end() if line else 0
        if message[end : end + 1] in (b"", b"\r", b"\n") or _FIELD.match(message, end, end + _BEGINNING):
            return b"X-Mailbox-Line: "
    return _NO_HEADER


def without_first_received(message: bytes) -> Octets:
    """The message without a Received field at its very top, which a relay in front writes anew each time."""
    if message[:9].lower() != b"received:":
        return message
    end = _FIELD_END.search(message)
    return memoryview(message)[end.end() :] if end else b""


def loop_mark(alias_id: int, secret_key: str | None = None) -> str:
    """A mark that only we recognise: the message went through this alias before; 0 stands for a role."""
    key = settings.SECRET_KEY if secret_key is None else secret_key
    return hmac.digest(key.encode(), f"loop:{alias_id}".encode(), "sha256").hex()[:32]


def is_looping(fields: Fields, alias_id: int) -> bool:
    """Whether the message went through this alias before, or over more hops than any honest one."""
    hops = 0
    for name, text in fields:
        if name == "received":
            hops += 1
        elif name == _LOOP_NAME and _is_mark(text, alias_id):
            return True
    return hops > HOPS_MAX


def went_through(fields: Fields, alias_id: int) -> bool:
    """Whether the message bears our own mark of this alias: we have forwarded it."""
    return any(name == _LOOP_NAME and _is_mark(text, alias_id) for name, text in fields)


def _is_mark(text: str, alias_id: int) -> bool:
    mark = text.encode()
    return any(hmac.compare_digest(mark, loop_mark(alias_id, key).encode()) for key in secret_keys())


def plain_address(text: str) -> str:
    """The address in a field that is in an everyday form; "" if it needs a parser."""
    match = None if "=?" in text else _MAILBOX.fullmatch(text)
    return match[1] or match[2] if match else ""


def author(fields: Fields, envelope_sender: str) -> str:
    """The address in From, as the owner sees it; the envelope's sender if From is missing, ambiguous (there
    are two, and mail readers show one or the other) or unreadable."""
    texts = [text for name, text in fields if name == "from"]
    if len(texts) != 1:
        return envelope_sender
    if address := plain_address(texts[0]):
        return address
    text = re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", texts[0][:_FROM_MAX])
    first = next(mailboxes(text), None)
    return first.address if first and first.address else envelope_sender


def may_offer_unsubscribe(fields: Fields) -> bool:
    """Whether List-Unsubscribe may be added: there is none, and no DKIM signature (RFC 6376 §5.4) names it,
    as signers do to say that it is absent."""
    taken = {name for name, _text in fields}
    for signature in (text for name, text in fields if name == "dkim-signature"):
        for tag in signature.split(";"):
            key, _equals, value = tag.partition("=")
            if key.strip() == "h":
                taken |= {field.strip().lower() for field in value.split(":")}
    return taken.isdisjoint({"list-unsubscribe", "list-unsubscribe-post"})


def trace_fields(
    alias: str, alias_id: int, client: str, protocol: str, unsubscribe: str | None
) -> list[tuple[str, str]]:
    """The fields that go on top, as (name, text), which may be folded. The destination is in none of them.

    `client`: who handed the message over, by name and address as the protocol said. `unsubscribe`: the
    URL that disables the alias, or None.
    """
    fields = [
        (
            "Received",
            f"from {_shown_client(client)} by {settings.MAIL_HOSTNAME} (Anonmail) with {protocol};\r\n"
            f"\t{_date(int(time.time()))}",
        ),
        ("X-Anonmail-Alias", alias),
        (LOOP_FIELD, loop_mark(alias_id)),
    ]
    if unsubscribe:
        # RFC 8058 §3.1
        fields += [
            ("List-Unsubscribe", f"<{unsubscribe}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ]
    return fields


def _shown_client(client: str) -> str:
    return _UNSHOWN.sub("?", client)[:200] or "unknown"


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    """The moment as a field shows it: many messages come in the same second."""
    return format_datetime(datetime.fromtimestamp(second, UTC))


def written(fields: Fields) -> bytes:
    """The fields as they stand in a message."""
    return "".join(f"{name}: {text}\r\n" for name, text in fields).encode("ascii", "replace")
