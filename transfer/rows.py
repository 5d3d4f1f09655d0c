"""What is read from another service's file of aliases, before any rule is asked. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from django.utils.formats import number_format
from django.utils.translation import gettext

ROWS_MAX = 50_000
# What a server's file has entries of. A CSV file has aliases alone.
ALIAS, DOMAIN, USER = "alias", "domain", "user"
# How services write a yes and a no, and spreadsheets in the languages that they are used in, casefolded.
_TRUE = frozenset(
    """
    true 1 yes y t on wahr ja vrai oui verdadero vero verdadeiro si sí sì sim cert vertader waar
    prawda tak pravda ano áno igaz igen adevărat adevarat da resnično prav istina točno sant sand sann tosi
    kyllä doğru dogru evet αληθησ ναι истина да так вярно істина tõene patiess teisinga
    """.split()  # noqa: SIM905
)
_FALSE = frozenset(
    """
    false 0 no n f off falsch nein faux non falso não nao fals onwaar nee
    fałsz falsz nie nepravda ne hamis nem nu neresnično napak laž netočno falskt falsk usann nej nei epätosi
    ei yanlış yanliş hayır hayir ψευδησ οχι ложь нет лъжа не ні хибність väär aplams klaidinga
    """.split()  # noqa: SIM905
)


def yes_or_no(text: str) -> bool | None:
    """Whether a cell says yes, in whatever language it was written; None where it says neither."""
    word = unicodedata.normalize("NFC", text).strip().casefold().replace("i\u0307", "i")
    return True if word in _TRUE else False if word in _FALSE else None


class ImportFileError(ValueError):
    """The file cannot be read at all. `str(error)` is a sentence for the person who sent it."""


@dataclass(frozen=True, slots=True)
class Row:
    """An alias as the file has it. Nothing is checked, but what cannot be understood is in `problem`."""

    # Where it begins in the file; in JSON, which may all be one line, its number.
    line: int
    address: str
    enabled: bool = True
    pinned: bool = False
    deleted: bool = False
    note: str = ""
    name: str = ""
    hostname: str = ""
    # Empty: the file names none.
    destinations: tuple[str, ...] = ()
    # By which rules it ends, as aliases.models.expiry.set_expiry takes them; empty: never.
    expiry: Mapping[str, Any] = field(default_factory=dict)
    # The owner's address, where the file says whose it is (Mailu).
    owner: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in the file that no alias here can be: it stands in nobody's way."""

    line: int
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class DomainRow:
    line: int
    name: str
    anonmail_enabled: bool
    comment: str


@dataclass(frozen=True, slots=True)
class UserRow:
    line: int
    email: str
    name: str
    enabled: bool


AnyRow = TypeVar("AnyRow", Row, DomainRow, UserRow)


@dataclass(frozen=True, slots=True)
class Document:
    """What is in a file."""

    rows: list[Row]
    left_out: list[LeftOut] = field(default_factory=list)
    domains: list[DomainRow] = field(default_factory=list)
    users: list[UserRow] = field(default_factory=list)
    # Whether `line` is a number in its section.
    is_json: bool = False
    # What was wrong, and taken out at a word.
    taken_out: list[LeftOut] = field(default_factory=list)

    def without(self, wrong: Iterable[tuple[str, int, str]]) -> "Document":
        """The document but for these entries, each a section of SECTIONS, a line and why it is left out."""
        reasons = {(section, line): reason for section, line, reason in wrong}
        taken_out = list(self.taken_out)

        def others(section: str, rows: list[AnyRow], name: str) -> list[AnyRow]:
            left: list[AnyRow] = []
            for row in rows:
                reason = reasons.get((section, row.line))
                if reason is None:
                    left.append(row)
                else:
                    taken_out.append(LeftOut(row.line, printable(getattr(row, name)[:80]), reason))
            return left

        return replace(
            self,
            rows=others(ALIAS, self.rows, "address"),
            domains=others(DOMAIN, self.domains, "name"),
            users=others(USER, self.users, "email"),
            taken_out=taken_out,
        )


def check_count(number: int) -> None:
    """Raise ImportFileError where a file has more rows of a kind than can be imported at once."""
    if number > ROWS_MAX:
        raise ImportFileError(
            gettext("The file has too many rows: at most %(max)s can be imported at once.")
            % {"max": number_format(ROWS_MAX, force_grouping=True)}
        )


def printable(text: str) -> str:
    """The text as it can be stored and printed: what is no character is shown as one that stands for it."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]", "�", text)
