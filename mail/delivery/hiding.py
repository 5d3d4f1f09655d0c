"""Rewriting a message's header so that answers go through the alias. The body's octets stay as they are.

`read` takes the header apart and says who the correspondents are; `Incoming.rewritten` writes it anew with
the addresses that stand for them. No octet of a field that names somebody to answer is kept: what cannot be
read cannot be answered. Everybody reads the new header alike, since it has one kind of line end and nothing
but fields.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from email.header import Header
from functools import cached_property
from typing import NamedTuple
from urllib.parse import unquote

from contacts.addresses import correspondent_address, is_reverse_address
from core.addresses import AddressError, address_or_none, is_same_without_tag
from core.mailboxes import Mailbox, mailboxes, plain_name, written
from mail.delivery.message import HEADER_MAX, joint
from mail.delivery.threads import for_owner

AUTHOR_FIELD = "X-Anonmail-Author"
REPLIES_FIELD = "X-Anonmail-Replies"
LEFT_OUT_FIELD = "X-Anonmail-Left-Out"
# Addresses in Reply-To that are answered.
REPLY_TO_MAX = 5
# Characters of a field with mailboxes that are read, and of the list of those who were left out.
_MAILBOXES_READ = 64 * 1024
_LEFT_OUT_MAX = 2000
_URI_MAX = 900

_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")
# At the beginning of a line: an empty one, or one that is neither of a field nor its folded rest.
_HEADER_END = re.compile(rb"(?m)^(?=\r*\n|(?![\x21-\x39\x3b-\x7e]+[ \t]*:|[ \t]))")
_EMPTY_LINE = re.compile(rb"\r*\n")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_URI = re.compile(r"<([^<>]*)>")
_PLAIN_URI = re.compile(r"(?i)https?:[\x21-\x7e]+")
_QUERY = re.compile(r"(?i)(?:subject|body)=[\x21-\x7e]*")

# They name messages of the owner's as correspondents know them.
_THREADS = frozenset({"in-reply-to", "references"})
_REPLACED = ("from", "reply-to", "to", "cc")
# Whom else a mail program could answer, send a receipt, or take for the author; and signatures of what has
# changed (RFC 6376, RFC 8617).
_REMOVED = frozenset(
    {
        *("dkim-signature", "domainkey-signature", "x-google-dkim-signature"),
        *("sender", "x-sender", "x-x-sender", "x-original-sender", "author", "x-original-author"),
        *("x-original-from", "original-from", "old-from", "x-google-original-from", "x-mailfrom"),
        *("return-path", "x-envelope-from", "x-envelope-sender", "errors-to", "x-errors-to", "bounces-to"),
        *("disposition-notification-to", "disposition-notification-options", "return-receipt-to"),
        *("return-receipt-requested", "read-receipt-to", "x-confirm-reading-to", "x-pmrqc"),
        *("registered-mail-reply-requested-by", "x-confirm-delivery-to", "delivery-receipt-to"),
        *("mail-followup-to", "mail-reply-to", "mail-copies-to", "x-reply-to", "x-original-reply-to"),
        *("old-reply-to", "bcc", "apparently-to", "apparently-from", "x-list-unsubscribe", "x-unsubscribe"),
        *(
            "x-anonmail-alias",
            "x-anonmail-client",
            "x-anonmail-encryption",
            AUTHOR_FIELD.lower(),
            REPLIES_FIELD.lower(),
            LEFT_OUT_FIELD.lower(),
        ),
    }
)
_REMOVED_BEGINNINGS = ("arc-", "resent-", "bimi-")
_UNSUBSCRIBE, _UNSUBSCRIBE_POST = "list-unsubscribe", "list-unsubscribe-post"
# Lists' fields with URIs (RFC 2369).
_LISTS = frozenset({_UNSUBSCRIBE, "list-post", "list-help", "list-subscribe", "list-owner", "list-archive"})


class Field(NamedTuple):
    """A field of the header: its lower-case name, and all its octets."""

    name: str
    octets: bytes

    @property
    def text(self) -> str:
        """Its unfolded text."""
        value = self.octets.partition(b":")[2].replace(b"\r\n", b"")
        return _CONTROL.sub("", value.decode("utf-8", "replace")).strip()


class Incoming:
    """A message whose header is to be rewritten for an alias.

    `authors`: the mailboxes in From, or the envelope's sender if From names nobody plainly.
    """

    def __init__(self, content: bytes, envelope_sender: str, alias: str) -> None:
        self.alias = alias
        self.fields, start = split(content)
        self.body = memoryview(content)[start:]
        # Of two From fields, mail programs show one or the other: neither counts.
        is_single = sum(field.name == "from" for field in self.fields) == 1
        self.authors = self._mailboxes("from") if is_single else []
        if not self.authors and envelope_sender:
            self.authors = [Mailbox("", envelope_sender)]
        self.reply_to = self._mailboxes("reply-to")[:REPLY_TO_MAX]
        if not self.reply_to and len(self.authors) > 1:
            self.reply_to = self.authors[:REPLY_TO_MAX]
        self.recipients = {name: self._mailboxes(name) for name in ("to", "cc")}

    def _mailboxes(self, name: str) -> list[Mailbox]:
        texts = [field.text for field in self.fields if field.name == name]
        return [each for text in texts for each in mailboxes(text[:_MAILBOXES_READ]) if each.address]

    @cached_property
    def author(self) -> str | None:
        """The address of the first author in its one form; None if nothing can be sent there."""
        return self._correspondent(self.authors[0].address) if self.authors else None

    @cached_property
    def author_name(self) -> str:
        """The name in the author's own From, "" without one."""
        return plain_name(self.authors[0].name) if self.authors else ""

    @property
    def has_unsubscribe(self) -> bool:
        """Whether the author says how to leave a list."""
        return any(field.name in {_UNSUBSCRIBE, _UNSUBSCRIBE_POST} for field in self.fields)

    @cached_property
    def correspondents(self) -> list[tuple[str, str | None]]:
        """The addresses in their one form that are to be replaced, the most important ones first; that of
        the author with a name."""
        found: dict[str, str | None] = {}
        if self.author:
            found[self.author] = self.author_name or ""
        others = [mailbox.address for mailbox in self.reply_to]
        others += self._list_addresses()
        others += [mailbox.address for found in self.recipients.values() for mailbox in found]
        for text in others:
            if address := self._correspondent(text):
                found.setdefault(address, None)
        return list(found.items())

    def rewritten(self, shown: Mapping[str, Mailbox]) -> bytes:
        """The header with reverse addresses, and the empty line that ends it: what goes above `body`.

        `shown` has, for each correspondent's address, the mailbox that stands for it. Whoever is not among
        them cannot be answered, and is left out.
        """
        return b"".join([*_Rewriting(self, shown).fields(), b"\r\n"])

    def under_alias(self, shown: str) -> list[Field]:
        """The header's fields with the alias in From, under the name `shown`, and the authors in Reply-To if
        they name nobody else: what can be signed for the alias's domain, and is still answered directly."""
        made = {"from": _field("From", [written(Mailbox(shown, self.alias))])}
        if not any(field.name == "reply-to" for field in self.fields):
            answered = [(plain_name(each.name), _one_form(each.address)) for each in self.authors]
            mailboxes = [Mailbox(name, address) for name, address in answered if address]
            made["reply-to"] = _field("Reply-To", map(written, mailboxes))
        kept = [field for field in self.fields if field.name not in {*made, "sender"}]
        return [*(Field(name, octets) for name, octets in made.items() if octets), *kept]

    def is_alias(self, text: str) -> bool:
        """Whether mail to this address reaches the alias."""
        return is_same_without_tag(text, self.alias)

    @cached_property
    def has_one_click(self) -> bool:
        """Whether the list is left by one request over HTTPS (RFC 8058)."""
        return any(field.name == _UNSUBSCRIBE_POST for field in self.fields) and any(
            field.name == _UNSUBSCRIBE and "<https:" in field.text.lower() for field in self.fields
        )

    def _correspondent(self, text: str) -> str | None:
        return None if self.is_alias(text) else _one_form(text)

    def _list_addresses(self) -> Iterator[str]:
        for field in self.fields:
            if self.is_answered(field):
                yield from (mailto.address for uri in _uris(field) if (mailto := _mailto(uri)))

    def is_answered(self, field: Field) -> bool:
        """Whether the mail addresses in a list's field become reverse addresses. Beside one click over
        HTTPS they do not: they often are of one message alone."""
        return field.name == "list-post" or (field.name == _UNSUBSCRIBE and not self.has_one_click)


def split(content: bytes) -> tuple[list[Field], int]:
    """The header's fields, and where the body begins.

    The header ends at its first empty line, or before the first line that is not of a field, as Postfix
    has it (cleanup(8)). A return alone is a space, as for Postfix. Fields beyond HEADER_MAX are left out.
    """
    between = joint(content)
    if between == b"\r\n":
        return [], 0
    # A mailbox file's first line names the envelope's sender.
    start = content.find(b"\n") + 1 if between else 0
    found = _HEADER_END.search(content, start)
    end = found.start() if found else len(content)
    read: list[tuple[str, list[bytes]]] = []
    for line in content[start : min(end, start + HEADER_MAX)].split(b"\n"):
        line = line.rstrip(b"\r").replace(b"\r", b" ").replace(b"\0", b" ")
        if name := _FIELD.match(line):
            read.append((name[1].decode("ascii").lower(), [line]))
        elif read and line.strip():
            read[-1][1].append(line)
    if end - start > HEADER_MAX:
        # The last one may have been cut off.
        del read[-1:]
    empty_line = _EMPTY_LINE.match(content, end)
    fields = [Field(name, b"\r\n".join(lines) + b"\r\n") for name, lines in read]
    return fields, empty_line.end() if empty_line else end


def _one_form(text: str) -> str | None:
    """The address as a contact has it; None for one that cannot be a contact's."""
    try:
        address = correspondent_address(text)
    except AddressError:
        return None
    return None if is_reverse_address(address) else address


def _uris(field: Field) -> list[str]:
    return [re.sub(r"\s", "", uri) for uri in _URI.findall(field.text)]


class _Mailto(NamedTuple):
    """The address of a mailto URI (RFC 6068) in its one form, and what it says of subject and body."""

    address: str
    query: str


def _mailto(uri: str) -> _Mailto | None:
    """None if it is another kind of URI, or has no plain address."""
    scheme, _colon, rest = uri.partition(":")
    path, _mark, query = rest.partition("?")
    address = _one_form(unquote(path).partition(",")[0])
    if scheme.lower() != "mailto" or not address:
        return None
    return _Mailto(address, "&".join(part for part in query.split("&") if _QUERY.fullmatch(part)))


class _Rewriting:
    """The new header of one message."""

    def __init__(self, incoming: Incoming, shown: Mapping[str, Mailbox]) -> None:
        self.incoming, self.shown = incoming, shown
        # In order, and each once.
        self.left_out: dict[str, None] = {}

    def fields(self) -> list[bytes]:
        replaced = self._replaced()
        fields = []
        for field in self.incoming.fields:
            # Of several with one name, the first one stands for all.
            fields.append(replaced.pop(field.name, b"") if field.name in _REPLACED else self._kept(field))
        authors = [_in_ascii(mailbox.address) for mailbox in self.incoming.authors]
        top = [_field(AUTHOR_FIELD, authors), _field(LEFT_OUT_FIELD, self._listed()), *replaced.values()]
        return [*top, *fields]

    def _replaced(self) -> dict[str, bytes]:
        """The fields with mailboxes by their names."""
        made = {
            "from": _field("From", [written(self._author())]),
            "reply-to": _field("Reply-To", map(written, self._answered())),
        }
        for name, recipients in self.incoming.recipients.items():
            made[name] = _field(name.title(), map(written, self._recipients(recipients)))
        if not made["to"] and any(field.name == "to" for field in self.incoming.fields):
            # RFC 5322 §3.4: a group may be empty.
            made["to"] = b"To: undisclosed-recipients:;\r\n"
        return made

    def _author(self) -> Mailbox:
        """Who wrote the message; in place of whom nobody can answer, the alias under their name."""
        incoming = self.incoming
        if incoming.author is not None and incoming.author in self.shown:
            return self.shown[incoming.author]
        (first, *_others) = incoming.authors or [Mailbox("", "")]
        return Mailbox(plain_name(first.name or first.address), incoming.alias)

    def _answered(self) -> Iterable[Mailbox]:
        stand_ins = map(self._stand_in, self.incoming.reply_to)
        return dict.fromkeys(stand_in for stand_in in stand_ins if stand_in)

    def _recipients(self, recipients: Iterable[Mailbox]) -> Iterable[Mailbox]:
        """The alias's own address as it is, and those that stand for others."""
        found, alias = [], self.incoming.alias
        for mailbox in recipients:
            if self.incoming.is_alias(mailbox.address):
                found.append(Mailbox(plain_name(mailbox.name), address_or_none(mailbox.address) or alias))
            elif stand_in := self._stand_in(mailbox):
                found.append(stand_in)
        return dict.fromkeys(found)

    def _stand_in(self, mailbox: Mailbox) -> Mailbox | None:
        stand_in = self.shown.get(_one_form(mailbox.address) or "")
        if stand_in is None and not self.incoming.is_alias(mailbox.address):
            self.left_out[mailbox.address] = None
        return stand_in

    def _listed(self) -> list[str]:
        """Those who were left out, as far as a field has room for them."""
        listed: list[str] = []
        size = 0
        for address in map(_in_ascii, self.left_out):
            size += len(address)
            if size > _LEFT_OUT_MAX:
                return [*listed, "..."]
            listed.append(address)
        return listed

    def _kept(self, field: Field) -> bytes:
        """The field as it stays, or b""."""
        name = field.name
        if name in _REMOVED or name.startswith(_REMOVED_BEGINNINGS):
            return b""
        if name == _UNSUBSCRIBE_POST and not self.incoming.has_one_click:
            return b""
        if name in _LISTS:
            return self._list_field(field)
        if name in _THREADS and (ids := for_owner(self.incoming.alias, name, field.text)):
            return field.octets.partition(b":")[0] + b": " + ids.encode() + b"\r\n"
        return field.octets

    def _list_field(self, field: Field) -> bytes:
        """The field with its web addresses, and reverse addresses in place of others."""
        title = field.octets.partition(b":")[0].decode("ascii").strip()
        if field.text.partition("(")[0].strip().upper() == "NO":
            # RFC 2369 §3.4
            return _field(title, ["NO"])
        kept = []
        for uri in _uris(field):
            if _PLAIN_URI.fullmatch(uri):
                kept.append(uri)
            elif not (self.incoming.has_one_click and field.name == _UNSUBSCRIBE) and (
                mailto := _mailto(uri)
            ):
                address, query = mailto
                if address in self.shown:
                    kept.append(f"mailto:{self.shown[address].address}{query and '?' + query}")
        return _field(title, [f"<{uri}>" for uri in kept if len(uri) <= _URI_MAX])


def _field(name: str, items: Iterable[str]) -> bytes:
    """The field with these items, one a line; b"" without any."""
    text = ",\r\n\t".join(items)
    return f"{name}: {text}\r\n".encode("ascii") if text else b""


def _in_ascii(address: str) -> str:
    """An address as a field's text, whatever it consists of."""
    text = " ".join(address.split())
    return text if text.isascii() and text.isprintable() else Header(text, "utf-8").encode(linesep="\r\n")
