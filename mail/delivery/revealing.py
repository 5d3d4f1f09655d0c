"""What in a message shows who wrote it, though its header does not: parts that name the own address.

Prose is not looked at: nobody's text is refused, or changed, because of what it says.
"""

import base64
import quopri
import re
from binascii import Error as BadBase64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32

from django.utils.translation import gettext_noop as _

RECEIPT = _("A read receipt or delivery report would show your own address")
CALENDAR = _("The calendar answer names your own address")
CARD = _("The attached business card names your own address")
SIGNATURE = _("The signature can show your own address")
KEY = _("The attached key names your own address")
OUTLOOK = _("The attachment in Outlook's own format (winmail.dat) can show your own address")
ATTACHED = _("The attached message shows your own address or mail server")
PART = _("A part of the message names your own address")
UNREADABLE = _("The parts of the message cannot be read")

# Parts, and levels of them, that are looked at: a message that has more is refused.
_PARTS_MAX = 500
_DEPTH_MAX = 20
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_TRACES = ("received", "delivered-to", "x-original-to", "return-path", "x-anonmail-alias", "x-envelope-to")
# At the beginning of a line: what is quoted is the correspondent's.
_ARMOUR = re.compile(
    rb"^-----BEGIN PGP ([A-Z ]+)-----(.*?)(?:^-----END PGP \1-----|\Z)", re.DOTALL | re.MULTILINE
)
_CLEAR_TEXT = re.compile(
    rb"^-----BEGIN PGP SIGNED MESSAGE-----.*?(?=^-----BEGIN PGP |\Z)", re.DOTALL | re.MULTILINE
)
_CALENDARS = {"text/calendar", "application/ics"}
_CARDS = {"text/vcard", "text/x-vcard", "text/directory", "application/vcard"}
_SIGNATURES = {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
_SIGNED_DATA = {"application/pkcs7-mime", "application/x-pkcs7-mime"}
_OUTLOOK = {"application/ms-tnef", "application/vnd.ms-tnef"}
_PROSE = {"text/plain", "text/html", "text/enriched", "text/markdown"}
_KINDS_BY_NAME = {
    ".ics": "text/calendar",
    ".vcf": "text/vcard",
    ".eml": "message/rfc822",
    ".p7s": "application/pkcs7-signature",
    ".p7m": "application/pkcs7-mime",
}
_OPAQUE = {"application/octet-stream", "text/plain"}


class Unreadable(Exception):
    """The message has too many parts, or parts that are cut off."""


@dataclass(frozen=True)
class Part:
    """A leaf of the message: its header, where its content begins and ends, and what it is in."""

    header: Message
    raw_header: bytes
    begin: int
    end: int
    within: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Its type; by its name if it is sent as something opaque."""
        kind = self.header.get_content_type()
        name = str(self.header.get_filename() or "").lower()
        if name == "winmail.dat":
            return "application/ms-tnef"
        return _KINDS_BY_NAME.get(name[-4:], kind) if kind in _OPAQUE else kind

    @property
    def coding(self) -> str:
        return str(self.header.get("Content-Transfer-Encoding", "")).strip().lower()

    def payload(self, content: bytes) -> bytes:
        """Its content, decoded."""
        return decoded(content[self.begin : self.end], self.coding)


def decoded(octets: bytes, coding: str) -> bytes:
    """The octets without their Content-Transfer-Encoding; as they are if they are not so encoded."""
    try:
        if coding == "base64":
            return base64.b64decode(re.sub(rb"[^A-Za-z0-9+/=]", b"", octets))
        return quopri.decodestring(octets) if coding == "quoted-printable" else octets
    except (BadBase64, ValueError):
        return octets


def parts(content: bytes) -> Iterator[Part]:
    """The leaves of a message, in order. Raises Unreadable."""
    for number, part in enumerate(_parts(content, 0, len(content), ())):
        if number >= _PARTS_MAX:
            raise Unreadable
        yield part


def _parts(content: bytes, begin: int, end: int, within: tuple[str, ...]) -> Iterator[Part]:
    if len(within) > _DEPTH_MAX:
        raise Unreadable
    raw, body = _split(content, begin, end)
    header = BytesHeaderParser(policy=compat32).parsebytes(raw)
    kind = header.get_content_type()
    boundary = header.get_boundary() if header.get_content_maintype() == "multipart" else None
    if boundary is None:
        yield Part(header, raw, body, end, within)
        return
    # The parts of a multipart have fields of their own, and so has it.
    yield Part(header, raw, body, body, within)
    delimiter = re.compile(rb"(?m)^--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*\r?$")
    marks = list(delimiter.finditer(content, body, end))
    if not marks or marks[0][1]:
        raise Unreadable
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        if mark[1]:
            break
        start = min(mark.end() + 1, end)
        yield from _parts(content, start, following.start() if following else end, (*within, kind))


def _split(content: bytes, begin: int, end: int) -> tuple[bytes, int]:
    """A part's header, and where its content begins. A part may have no header (RFC 2046 §5.1)."""
    for empty in (b"\r\n", b"\n"):
        if content.startswith(empty, begin, end):
            return b"", begin + len(empty)
    match = _HEADER_END.search(content, begin, end)
    return (content[begin : match.start()], match.end()) if match else (content[begin:end], end)


def reason_against(content: bytes, own: Sequence[str], alias: str) -> str | None:
    """Why the message would show who wrote it, as the beginning of a sentence; None if nothing does.

    `own`: the writer's own addresses, in their one form.
    """
    try:
        for part in parts(content):
            if found := _reason(part, content, own, alias):
                return found
    except (Unreadable, ValueError, LookupError):
        # Python's parser trips over charsets such as idna in a parameter (RFC 2231).
        return UNREADABLE
    return None


def _reason(part: Part, content: bytes, own: Sequence[str], alias: str) -> str | None:
    kind = part.kind
    payload = part.payload(content)
    if part.within and names_one(part.raw_header, own):
        return PART
    if kind == "multipart/report" or kind.startswith("message/disposition") or "delivery-status" in kind:
        return RECEIPT
    if kind in _OUTLOOK:
        return OUTLOOK
    if kind in _SIGNATURES or (kind in _SIGNED_DATA and "envelop" not in _smime_type(part)):
        return _against_signature(payload, own, alias)
    if kind.startswith("message/") or kind == "text/rfc822-headers":
        return _against_attached(payload, own)
    if kind in _CALENDARS:
        return CALENDAR if names_one(_unfolded(payload), own) else None
    if kind in _CARDS:
        return CARD if names_one(_unfolded(payload), own) else None
    return _against_armour(payload, own, alias, is_prose=kind in _PROSE)


def _smime_type(part: Part) -> str:
    return str(part.header.get_param("smime-type", "")).lower()


def _against_signature(octets: bytes, own: Sequence[str], alias: str) -> str | None:
    """A signature tells which key made it, and often whose: all right only if it names the alias alone."""
    armoured = _ARMOUR.search(octets)
    plain = decoded(_armoured(armoured[2]), "base64") if armoured else octets
    return None if names_one(plain, [alias]) and not names_one(plain, own) else SIGNATURE


def _against_armour(octets: bytes, own: Sequence[str], alias: str, *, is_prose: bool) -> str | None:
    """Keys and signatures in a text or a file. What is no prose is looked at only for those."""
    for match in _ARMOUR.finditer(_CLEAR_TEXT.sub(b"", octets)):
        kind = match[1]
        if b"KEY" in kind and names_one(decoded(_armoured(match[2]), "base64"), own):
            return KEY
        if b"SIGNATURE" in kind and (found := _against_signature(match[0], own, alias)):
            return found
    if not is_prose and octets[:1] in (b"\x98", b"\x99", b"\xc6") and names_one(octets, own):
        return KEY
    return None


def _armoured(octets: bytes) -> bytes:
    """The base64 of an armour, without its fields and its checksum (RFC 9580 §6.2)."""
    _fields, _empty, data = octets.replace(b"\r", b"").partition(b"\n\n")
    return re.sub(rb"\n=[A-Za-z0-9+/]{4}\s*$", b"\n", data)


def _against_attached(octets: bytes, own: Sequence[str]) -> str | None:
    """An attached message carries the way that it came."""
    try:
        for number, part in enumerate(parts(octets)):
            has_traces = not number and any(name in part.header for name in _TRACES)
            if has_traces or names_one(part.raw_header, own) or names_one(part.payload(octets), own):
                return ATTACHED
    except Unreadable:
        return UNREADABLE
    return None


def _unfolded(octets: bytes) -> bytes:
    """Content lines (RFC 5545 §3.1) in one piece."""
    return re.sub(rb"\r?\n[ \t]", b"", octets)


def names_one(octets: bytes, addresses: Sequence[str]) -> bool:
    """Whether one of the addresses is in these octets, in any case and in the codings of text."""
    text = octets.lower()
    return any(
        address.encode(coding) in text
        for address in addresses
        for coding in ("utf-8", "utf-16-le", "utf-16-be")
    )
