"""What the conditions of rules look at: the texts of one message to one alias, decoded and bounded."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from core.addresses import display_address
from core.mailboxes import decoded
from core.matching import TEXT_MAX

# Characters of a field as it is written. What is decoded of them, and all fields of one name together, have
# at most TEXT_MAX.
WRITTEN_MAX = 2000
# Fields of one name that are looked at: thousands of empty ones fit into a header.
FIELDS_MAX = 100
# Marks in a row that are put together with their letter (UAX #15 §13). The time for a longer row grows with
# its square; nobody writes one.
MARKS_MAX = 30


@dataclass(frozen=True)
class Facts:
    """A message's header, as (lower-case name, unfolded text); the author's address; and the alias with its
    note. The texts of all of them are `composed`."""

    fields: Sequence[tuple[str, str]]
    sender: str
    alias: str
    note: str = ""

    @cached_property
    def senders(self) -> list[str]:
        """The author's address; and with a domain that is not ASCII, both of its forms."""
        return _bounded(_forms(self.sender.strip()))

    @cached_property
    def aliases(self) -> list[str]:
        return _forms(self.alias)

    @cached_property
    def notes(self) -> list[str]:
        return _bounded([_in_one_line(self.note)])

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for name, text in self.fields:
            if len(found[name]) < FIELDS_MAX:
                found[name].append(text)
        return found

    @cached_property
    def _read(self) -> dict[str, list[str]]:
        return {}

    def header(self, name: str) -> list[str]:
        """The texts of the fields of this name, in lower case, as a mail program shows them."""
        if name not in self._read:
            texts = self._texts.get(name, ())
            self._read[name] = _bounded(_in_one_line(decoded(text[:WRITTEN_MAX])) for text in texts)
        return self._read[name]


def composed(text: str) -> str:
    """The text with each letter and its accents as one character, as people type it."""
    if text.isascii():
        return text
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MARKS_MAX:
            return text
    return unicodedata.normalize("NFC", text)


def _forms(address: str) -> list[str]:
    address = composed(address)
    return [address, display_address(address)] if "xn--" in address.lower() else [address]


def _in_one_line(text: str) -> str:
    return composed(" ".join(text.split()))


def _bounded(texts: Iterable[str]) -> list[str]:
    """As many of the texts as have TEXT_MAX characters together; the last one is cut."""
    found, room = [], TEXT_MAX
    for text in texts:
        if room <= 0:
            break
        found.append(text[:room])
        room -= len(text)
    return found
