"""The message that a delivery report carries back (RFC 3462 §2, RFC 6533 §4.1), octet by octet."""

import binascii
import quopri
import re

from mail.delivery.message import HEADER_END, HEADER_MAX, header_fields
from mail.delivery.threads import folded, ids_in, original_id

# A report has three parts; what comes after so many is not looked at.
_PARTS_MAX = 16
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"((?:[^"\\]|\\.)+)"|([^\s;"]+))', re.IGNORECASE)
_WHOLE = frozenset({"message/rfc822", "message/global"})
# What names messages (RFC 5322 §3.6.4), with its folded rest.
_IDS = re.compile(rb"(?im)^(Message-ID|In-Reply-To|References)[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)")
_HEADER_ONLY = frozenset({"text/rfc822-headers", "message/global-headers"})


def returned_part(report: bytes) -> tuple[bytes, bool]:
    """The message, and whether it is whole: some reports carry its header alone. b"" if there is neither."""
    for part in _parts(report):
        fields = dict(header_fields(part))
        kind = fields.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _WHOLE | _HEADER_ONLY:
            end = HEADER_END.search(part)
            body = part[end.end() :] if end else b""
            return _decoded(body, fields.get("content-transfer-encoding", "").strip().lower()), kind in _WHOLE
    return b"", False


def as_the_owner_wrote_it(alias: str, reply: bytes) -> bytes:
    """A reply from the alias with the Message-IDs that its owner's mailbox knows; b"" if it is none."""
    message_id = dict(header_fields(reply)).get("message-id", "")
    if original_id(alias, message_id) is None:
        return b""

    def known(field: re.Match[bytes]) -> bytes:
        ids = ids_in(field[2].decode("utf-8", "replace"))
        return field[1] + b": " + folded(original_id(alias, each) or each for each in ids).encode()

    end = HEADER_END.search(reply, 0, HEADER_MAX)
    split = end.start() if end else len(reply)
    return _IDS.sub(known, reply[:split]) + reply[split:]


def _parts(message: bytes) -> list[bytes]:
    """The parts of a multipart message, each with its header; a closing delimiter may be missing."""
    content_type = dict(header_fields(message)).get("content-type", "")
    boundary = _BOUNDARY.search(content_type)
    if not boundary or not content_type.lower().startswith("multipart/"):
        return []
    text = re.sub(r"\\(.)", r"\1", boundary[1]) if boundary[1] else boundary[2]
    mark = re.escape(text.encode("utf-8", "replace"))
    # The line end before a delimiter line belongs to it (RFC 2046 §5.1.1).
    delimiter = re.compile(rb"\r?\n--" + mark + rb"(?:--)?[ \t]*(?=\r?\n|\Z)")
    # Each part begins with the end of its delimiter's line.
    return [part.removeprefix(b"\r").removeprefix(b"\n") for part in delimiter.split(message, _PARTS_MAX)[1:]]


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        try:
            return binascii.a2b_base64(body)
        except binascii.Error:
            return b""
    return quopri.decodestring(body) if encoding == "quoted-printable" else body
