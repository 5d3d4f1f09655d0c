"""What a file of aliases contains, whatever its format, and how it is kept as JSON. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext

ROWS_MAX = 50_000
# Contacts of one alias.
CONTACTS_MAX = 1_000
# The kinds of entries in a server's file. A CSV file has only aliases.
ALIAS, DOMAIN, USER = "alias", "domain", "user"
# How services, and spreadsheets in many languages, write yes and no, casefolded.
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
    """Whether a cell says yes, in any of the languages; None if it says neither."""
    word = unicodedata.normalize("NFC", text).strip().casefold().replace("i\u0307", "i")
    return True if word in _TRUE else False if word in _FALSE else None


class ImportFileError(ValueError):
    """The file cannot be read at all. `str(error)` is a sentence for the person who sent it."""


@dataclass(frozen=True, slots=True)
class Row:
    """An alias in the file. If it cannot be an alias here, `problem` says why."""

    # Where it begins in the file; in JSON, which may be a single line, its number.
    line: int
    address: str
    enabled: bool = True
    pinned: bool = False
    deleted: bool = False
    note: str = ""
    name: str = ""
    hostname: str = ""
    # Empty: the file names none.
    destinations: Sequence[str] = ()
    # The rules by which it ends, as aliases.ending.check_expiry takes them; empty: never.
    expiry: Mapping[str, Any] = field(default_factory=dict)
    # The owner's address, if the file says whose it is (Mailu).
    owner: str = ""
    problem: str = ""
    # Whether replies hide the owner, if the file says so; else as the owner likes it.
    hides_replies: bool | None = None
    # One of aliases.models.Admits; "" is everybody's mail.
    admits: str = ""
    # The correspondents: address, name, and whether they are blocked.
    contacts: Sequence[Sequence[Any]] = field(default_factory=list)


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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry of the file that is not imported, and does not stop the import."""

    line: int
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an entry cannot be imported. Line 0: the problem is not one of a single entry."""

    line: int
    address: str
    reason: str
    section: str = ALIAS
    # Whether it reveals that somebody else has the address: such answers are limited.
    is_taken: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """What is in a file."""

    rows: list[Row]
    left_out: list[LeftOut] = field(default_factory=list)
    domains: list[DomainRow] = field(default_factory=list)
    users: list[UserRow] = field(default_factory=list)
    # Whether `line` is a number in its section.
    is_json: bool = False

    def __len__(self) -> int:
        """How many entries it would import."""
        return len(self.rows) + len(self.domains) + len(self.users)

    def without(self, wrong: Iterable[Problem]) -> "Document":
        """The document without the entries that are wrong, which are left out with the reason."""
        problems = {(problem.section, problem.line): problem for problem in wrong if problem.line}
        left_out = [LeftOut(row.line, row.address, row.reason) for row in problems.values()]
        return replace(
            self,
            rows=[row for row in self.rows if (ALIAS, row.line) not in problems],
            domains=[row for row in self.domains if (DOMAIN, row.line) not in problems],
            users=[row for row in self.users if (USER, row.line) not in problems],
            left_out=left_out + self.left_out,
        )

    def as_json(self) -> dict[str, Any]:
        """The document for a JSON field: each entry as the list of its values."""
        rows = [replace(row, expiry=_with_text(row.expiry)) if row.expiry else row for row in self.rows]
        return {
            "rows": _values(Row, rows),
            "left_out": _values(LeftOut, self.left_out),
            "domains": _values(DomainRow, self.domains),
            "users": _values(UserRow, self.users),
            "is_json": self.is_json,
        }

    @classmethod
    def from_json(cls, contents: dict[str, Any]) -> "Document":
        """The document from what `as_json` returned."""
        rows = [Row(*values) for values in contents["rows"]]
        return cls(
            rows=[replace(row, expiry=_with_moment(row.expiry)) if row.expiry else row for row in rows],
            left_out=[LeftOut(*values) for values in contents["left_out"]],
            domains=[DomainRow(*values) for values in contents["domains"]],
            users=[UserRow(*values) for values in contents["users"]],
            is_json=contents["is_json"],
        )


def _values(kind: type[Any], entries: list[Any]) -> list[tuple[Any, ...]]:
    return list(map(attrgetter(*(part.name for part in fields(kind))), entries))


def _with_text(expiry: Mapping[str, Any]) -> dict[str, Any]:
    moment = expiry["expires_at"]
    return {**expiry, "expires_at": moment and moment.isoformat()}


def _with_moment(expiry: Mapping[str, Any]) -> dict[str, Any]:
    text = expiry["expires_at"]
    return {**expiry, "expires_at": text and datetime.fromisoformat(text)}


def check_count(number: int) -> None:
    """Raise ImportFileError if a file has more rows of a kind than can be imported at once."""
    if number > ROWS_MAX:
        raise ImportFileError(
            gettext("The file has too many rows: at most %(max)s can be imported at once.")
            % {"max": number_format(ROWS_MAX, force_grouping=True)}
        )


def printable(text: str) -> str:
    """The text as it can be stored and printed: control characters and surrogates are replaced by “�”."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]", "�", text)
