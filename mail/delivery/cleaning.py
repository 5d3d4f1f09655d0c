"""A message of the owner's as the correspondents see it: from the alias, and without what shows the owner.

Pure. The header keeps a short list of fields; the body's octets stay as they are, unless the owner wants
addresses in the text replaced.
"""

import base64
import quopri
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.policy import default as parsing
from email.utils import format_datetime, parsedate_to_datetime

from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_noop as _

from contacts.addresses import correspondent_address, correspondent_in_tag, is_reverse_address
from core.addresses import AddressError, display_address, is_same_without_tag
from core.mailboxes import Mailbox, mailboxes, plain_name, written
from mail.delivery.message import HEADER_MAX, Octets, joint, plain_address
from mail.delivery.revealing import Part, Unreadable, parts, reason_against
from mail.delivery.threads import folded, for_correspondent, ids_in, outgoing_id

# What a correspondent needs to read the message, beside what is written anew; all else is dropped.
_KEPT = (
    *("auto-submitted", "precedence", "importance", "subject", "mime-version"),
    *("content-type", "content-transfer-encoding", "content-disposition"),
)
# RFC 5322 §3.6: at most once. A reader that takes the first one, and a signature over the last one, would
# not mean the same.
_ONCE = (
    *_KEPT,
    *("from", "sender", "reply-to", "to", "cc", "bcc", "date", "message-id", "in-reply-to", "references"),
)
_NAMES = {
    **{name: name.title() for name in _KEPT},
    "mime-version": "MIME-Version",
}
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_NAME = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")
# Characters of a From field that are read: Python's parser takes minutes for a long one.
_FROM_MAX = 1000
# Octets of a line of base64 (RFC 2045 §6.8), as they are before they are encoded.
_BASE64_OCTETS = 57
_TEXTS = {"text/plain", "text/html"}
# Nothing in these may change: a signature covers it, or it is somebody else's.
_SEALED = {"multipart/signed", "multipart/encrypted"}
# What an address ends at, in a text.
_BEFORE, _AFTER = rb"(?<![A-Za-z0-9._%+-])", rb"(?![A-Za-z0-9-]|\.[A-Za-z0-9])"


class Unsendable(Exception):
    """The message cannot go out. The text says why, in a sentence without its full stop."""


@dataclass(frozen=True)
class Writer:
    """Who writes, as whom, to whom, and what they allow.

    `own`: the owner's addresses. `correspondents`: for reverse addresses of the alias, who they stand for.
    """

    alias: str
    name: str
    own: frozenset[str]
    correspondents: Mapping[str, Mailbox]
    allows_others: bool = False
    allows_revealing: bool = False
    cleans_text: bool = False

    @property
    def names(self) -> list[str]:
        """The owner's addresses in all forms in which a text may name them."""
        return sorted(self.own | {display_address(address) for address in self.own})


@dataclass(frozen=True)
class Draft:
    """A message as the owner's mail program made it. Reading it raises Unsendable."""

    content: bytes

    @cached_property
    def proofs(self) -> dict[object, bool | None]:
        """What the DNS has said about it before, for another recipient; None: no answer."""
        return {}

    @cached_property
    def header_end(self) -> int:
        end = self.content.find(b"\r\n\r\n", 0, HEADER_MAX)
        if end < 0 or joint(self.content):
            raise Unsendable(_("The message has no header that can be read"))
        return end

    @cached_property
    def raw(self) -> dict[str, bytes]:
        """What follows the name of each field, the fields that are allowed once."""
        header = self.content[: self.header_end]
        if re.search(rb"\r(?!\n)|(?<!\r)\n|\0", header):
            raise Unsendable(_("The header has line ends that mail must not have"))
        found: dict[str, bytes] = {}
        for field in _FIELD_END.split(header):
            if match := _NAME.match(field):
                name = match[1].decode("ascii").lower()
                if name in found and name in _ONCE:
                    raise Unsendable(f"The header has more than one {name.title()} field")
                found.setdefault(name, field[match.end() :])
        return found

    def text(self, name: str) -> str:
        """A field's unfolded text, "" without it."""
        return self.raw.get(name, b"").replace(b"\r\n", b"").decode("utf-8", "replace").strip()

    @cached_property
    def author(self) -> str:
        """The one address in From, in its one form. Two parsers have to agree about it if it is written in
        no everyday form."""
        text = self.text("from")
        if len(text) > _FROM_MAX:
            raise Unsendable(_("From is too long"))
        try:
            if address := plain_address(text):
                return correspondent_address(address)
            found = [correspondent_address(each.address) for each in mailboxes(text)]
            others = [each.addr_spec for each in parsing.header_factory("From", text).addresses]
            if len(found) == 1 and [correspondent_address(each) for each in others] == found:
                return found[0]
        except Exception as error:  # Python's parser raises whatever it comes across.
            raise Unsendable(_("From cannot be read")) from error
        raise Unsendable(_("From must be exactly one address"))

    @cached_property
    def date(self) -> datetime | None:
        try:
            found = parsedate_to_datetime(self.text("date"))
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, TypeError, OverflowError):
            return None

    @property
    def message_id(self) -> str:
        """The Message-ID, "" without one that can be read."""
        return next(iter(ids_in(self.text("message-id"))), "")

    @property
    def references(self) -> list[str]:
        """The Message-IDs that In-Reply-To and References name."""
        return ids_in(f"{self.text('references')} {self.text('in-reply-to')}")

    @property
    def is_automatic(self) -> bool:
        """Whether no person wrote it (RFC 3834 §5)."""
        submitted = self.text("auto-submitted").lower()
        is_bulk = self.text("precedence").lower() in {"bulk", "junk", "list", "auto_reply"}
        return (
            submitted not in {"", "no"}
            or is_bulk
            or not {"x-autoreply", "x-autorespond"}.isdisjoint(self.raw)
        )

    def mailboxes(self, name: str) -> list[Mailbox]:
        """The mailboxes in To or Cc, their addresses in their one form."""
        found = []
        for mailbox in mailboxes(self.text(name)):
            try:
                found.append(Mailbox(mailbox.name, correspondent_address(mailbox.address)))
            except AddressError as error:
                raise Unsendable(f"An address in {name.title()} cannot be read") from error
        return found

    @property
    def recipients(self) -> set[str]:
        """The addresses in To and Cc."""
        return {each.address for name in ("to", "cc") for each in self.mailboxes(name)}


def cleaned(
    draft: Draft, writer: Writer, message_id: str, is_own: Callable[[str], bool]
) -> tuple[bytes, Octets]:
    """The message as it goes out, without a signature: its header with the empty line after it, and its body.
    Raises Unsendable.

    `message_id`: the mailbox's own, or what stands for it. `is_own`: whether the mailbox made a Message-ID
    that the message refers to.
    """
    if not writer.allows_revealing:
        _refuse_revealing(draft, writer)
    fields = [
        ("From", written(Mailbox(plain_name(writer.name), writer.alias)).encode()),
        *_recipients(draft, writer),
        ("Date", format_datetime(draft.date or timezone.now()).encode()),
        ("Message-ID", outgoing_id(writer.alias, message_id).encode()),
    ]
    shown = for_correspondent(writer.alias, draft.references, is_own)
    for name, title in (("in-reply-to", "In-Reply-To"), ("references", "References")):
        if ids := dict.fromkeys(shown[each] for each in ids_in(draft.text(name)) if each in shown):
            fields.append((title, folded(ids).encode()))
    fields += [(_NAMES[name], _kept(draft, name)) for name in _KEPT if name in draft.raw]
    lines = [name.encode() + b": " + value + b"\r\n" for name, value in fields]
    return b"".join([*lines, b"\r\n"]), _body(draft, writer)


def _kept(draft: Draft, name: str) -> bytes:
    """A field's octets as they stay. Apple Mail writes its name into a comment beside MIME's one version."""
    return b"1.0" if name == "mime-version" else draft.raw[name].strip()


def _recipients(draft: Draft, writer: Writer) -> Iterator[tuple[str, bytes]]:
    """To and Cc: correspondents instead of reverse addresses, without the owner's addresses and the alias."""
    has_some = False
    for name in ("to", "cc"):
        mapped = list(filter(None, (_mapped(each, writer) for each in draft.mailboxes(name))))
        if mapped:
            has_some = True
            yield name.title(), b",\r\n ".join(written(each).encode() for each in dict.fromkeys(mapped))
    if not has_some:
        # RFC 5322 §3.6.3, for a reverse address in Bcc.
        yield "To", b"undisclosed-recipients:;"


def _mapped(mailbox: Mailbox, writer: Writer) -> Mailbox | None:
    named = correspondent_in_tag(mailbox.address, writer.alias)
    if not writer.own.isdisjoint({mailbox.address, named}):
        return None
    if named:
        return Mailbox("", named)
    if is_same_without_tag(mailbox.address, writer.alias):
        # As in an answer to all of what came to the alias.
        return None
    if correspondent := writer.correspondents.get(mailbox.address):
        return correspondent
    if is_reverse_address(mailbox.address):
        raise Unsendable(_("To or Cc names a reverse address of another alias"))
    if not writer.allows_others:
        raise Unsendable(_("To or Cc names an address that is not a reverse address of this alias"))
    return Mailbox(plain_name(mailbox.name), mailbox.address)


def _refuse_revealing(draft: Draft, writer: Writer) -> None:
    names = writer.names
    for name in _KEPT:
        text = draft.text(name)
        if "=?" in text:
            text = str(parsing.header_factory("Subject", text))
        if any(address in text.lower() for address in names):
            raise Unsendable(f"{_NAMES[name]} names your own address")
    if reason := reason_against(draft.content, names, writer.alias):
        raise Unsendable(reason)


def _body(draft: Draft, writer: Writer) -> Octets:
    """What follows the header's empty line."""
    start = draft.header_end + len(b"\r\n\r\n")
    if not writer.cleans_text:
        return memoryview(draft.content)[start:]
    replaced = dict.fromkeys(writer.names, writer.alias)
    replaced |= {reverse: each.address for reverse, each in writer.correspondents.items()}
    made, position = [], start
    try:
        found = [part for part in parts(draft.content) if _is_open_text(part)]
    except (Unreadable, ValueError, LookupError):
        found = []
    for part in found:
        text = part.payload(draft.content)
        changed = _replaced(text, replaced)
        if changed != text:
            made += [draft.content[position : part.begin], _encoded(changed, part.coding)]
            position = part.end
    return b"".join([*made, draft.content[position:]])


def _is_open_text(part: Part) -> bool:
    """Whether the part is text that nothing has signed or encrypted."""
    is_attached = part.header.get_content_disposition() == "attachment"
    return part.kind in _TEXTS and not is_attached and _SEALED.isdisjoint(part.within)


def _replaced(text: bytes, addresses: Mapping[str, str]) -> bytes:
    """The text with these addresses replaced, each as a whole, in any case; not if a part of it is signed."""
    if b"-----BEGIN PGP " in text:
        return text
    for address, other in addresses.items():
        text = re.sub(
            _BEFORE + re.escape(address.encode()) + _AFTER,
            other.encode().replace(b"\\", rb"\\"),
            text,
            flags=re.I,
        )
    return text


def _encoded(text: bytes, coding: str) -> bytes:
    if coding == "base64":
        lines = (text[at : at + _BASE64_OCTETS] for at in range(0, len(text), _BASE64_OCTETS))
        return b"".join(base64.b64encode(line) + b"\r\n" for line in lines)
    if coding == "quoted-printable":
        return re.sub(rb"\r?\n", b"\r\n", quopri.encodestring(text.replace(b"\r\n", b"\n")))
    return text
