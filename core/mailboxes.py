"""Mailboxes in a header (RFC 5322 §3.4), as they are read leniently and written strictly. No Django here."""

import re
import unicodedata
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import Header, decode_header
from typing import NamedTuple

# Characters of a display name, as it is read and as it is written.
_NAME_READ = 1000
NAME_MAX = 100
_TOKEN = re.compile(
    r"""
      "(?:[^"\\]|\\.)*"         # a quoted string
    | \\.                       # a quoted pair
    | \[[^\[\]\\<>"]*\]         # a domain literal
    | [(),:;<>]
    | [^"\\\[(),:;<>]+
    | .
    """,
    re.DOTALL | re.VERBOSE,
)
# Of white space only its beginning is a place to start from: its length is anybody's.
_AROUND_SIGN = re.compile(r"(?<!\s)\s*([@.])\s*")
_IN_COMMENT = re.compile(r"\\.|[()]", re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
# An addr-spec (RFC 5322 §3.4.1) without white space, comments, and control characters.
_ADDRESS = re.compile(
    r"""(?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|[^\s\x00-\x1f\x7f"<>(),;:@\[\]\\]+)
    @(?:\[[^\s\x00-\x1f\x7f\[\]\\]*\]|[^\s\x00-\x1f\x7f"<>(),;:@\[\]\\]+)""",
    re.VERBOSE,
)
# What people read as an @: its full-width and small forms too.
_AT = re.compile(r"\s*[@\uff20\ufe6b]\s*")
_HALVES = re.compile(r"[\ud800-\udfff]")
# Encoded words are at most 75 characters long (RFC 2047 §2), and lines 78 (RFC 5322 §2.1.1).
_ENCODED_LINE_MAX = 70


class Mailbox(NamedTuple):
    """A display name as it is read, "" without one; and an address, "" if there is no plain one."""

    name: str
    address: str


def mailboxes(text: str) -> Iterator[Mailbox]:
    """The mailboxes in a field's unfolded text, those in groups included.

    What is beside an address in angle brackets is a name, whatever it looks like. Nothing comes after a
    quoted string or a comment without an end.
    """
    reader = _Reader()
    position = 0
    while position < len(text):
        piece = _TOKEN.match(text, position)
        assert piece  # Its last branch takes any character.
        position = piece.end()
        if piece[0] == "(":
            end = _comment_end(text, position)
            if not end:
                return
            reader.comment = text[position : end - 1]
            position = end
        elif piece[0] == '"':
            return
        elif found := reader.read(piece[0]):
            yield found
    if found := reader.end():
        yield found


def _comment_end(text: str, position: int) -> int:
    """Where the comment ends whose opening parenthesis is before `position`; 0 if it does not."""
    depth = 1
    for match in _IN_COMMENT.finditer(text, position):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    return 0


class _Reader:
    """Reads one mailbox after the other, piece by piece."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.words: list[str] = []
        self.angle: list[str] | None = None
        self.is_in_angle = self.is_odd = False
        self.comment = ""

    def read(self, piece: str) -> Mailbox | None:
        """Take one piece; the mailbox that ends with it."""
        if piece == "<":
            self.is_odd |= self.angle is not None
            self.angle, self.is_in_angle = [], True
        elif piece == ">":
            self.is_in_angle = False
        elif self.is_in_angle and self.angle is not None:
            self.angle.append(piece)
        elif piece in {",", ";"}:
            return self.end()
        elif piece == ":":
            # What was before it is the name of a group.
            self.words = []
        else:
            self.words.append(piece)
        return None

    def end(self) -> Mailbox | None:
        """The mailbox that has been read, if it is one."""
        bare = "".join(self.words)
        angle, comment, is_odd = self.angle, self.comment, self.is_odd
        words = self.words
        self._begin()
        if angle is None and not bare.strip():
            return None
        if angle is None:
            return Mailbox(_read_name([comment]), _read_address(bare))
        name = _read_name(words) or _read_name([comment])
        return Mailbox(name, "" if is_odd else _read_address("".join(angle)))


def _read_address(text: str) -> str:
    if text.startswith("@"):
        # A route (RFC 5322 §4.4)
        text = text.partition(":")[2]
    address = _AROUND_SIGN.sub(r"\1", text.strip())
    return address if _ADDRESS.fullmatch(address) else ""


def _read_name(words: list[str]) -> str:
    """A display name as a mail program shows it: without quotes, its encoded words (RFC 2047) decoded, also
    where the standard forbids them."""
    text = "".join(word[1:-1] if word.startswith('"') else word for word in words)[:_NAME_READ]
    return decoded(_QUOTED_PAIR.sub(r"\1", text)).strip()


def decoded(text: str) -> str:
    """The text with its encoded words (RFC 2047) decoded; as it is, if they cannot be."""
    if "=?" not in text:
        return text
    try:
        # What is not encoded comes in the codec that decode_header itself uses.
        found = "".join(
            piece if isinstance(piece, str) else piece.decode(charset or "raw-unicode-escape", "replace")
            for piece, charset in decode_header(text)
        )
    except (HeaderParseError, LookupError, ValueError):
        return text
    # Some codecs (UTF-7) let halves of characters through, which nothing can be written with.
    return _HALVES.sub("\ufffd", found)


def plain_name(name: str) -> str:
    """A display name that shows nothing but itself: in one line, not too long, without an `@` that would
    look like an address, and without characters that turn the direction of writing."""
    visible = "".join(
        " " if character.isspace() else character
        for character in name
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    return " ".join(_AT.sub(" at ", visible).split())[:NAME_MAX].strip()


def written(mailbox: Mailbox) -> str:
    """The mailbox as it stands in a field, perhaps folded. Its address must be ASCII."""
    name, address = mailbox
    if not name:
        return address
    if name.isascii() and "=?" not in name:
        quoted = re.sub(r'(["\\])', r"\\\1", name)
        return f'"{quoted}" <{address}>'
    encoded = Header(name, "utf-8", maxlinelen=_ENCODED_LINE_MAX).encode(linesep="\r\n")
    return f"{encoded}\r\n <{address}>"
