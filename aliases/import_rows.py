"""What is read from another service's file of aliases, before any rule is asked. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext

ROWS_MAX = 50_000
# How the services write a yes.
TRUE = frozenset({"true", "1", "yes", "on"})


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
    # By which rules it ends, as aliases.expiry.set_expiry takes them; empty: never.
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


@dataclass(frozen=True, slots=True)
class Document:
    """What is in a file."""

    rows: list[Row]
    left_out: list[LeftOut] = field(default_factory=list)
    domains: list[DomainRow] = field(default_factory=list)
    users: list[UserRow] = field(default_factory=list)
    # Whether `line` is a number in its section.
    is_json: bool = False


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
