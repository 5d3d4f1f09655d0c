"""Reading other services' files of aliases into rows. Pure: nothing here asks the database.

SimpleLogin's CSV (`alias,note,enabled,mailboxes`), addy's CSV (the columns of its alias table), our own
(anonmail_site.everything_mine), and Mailu's `config-export` in YAML or JSON. Columns are found by name.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml
from django.utils.formats import number_format
from django.utils.translation import gettext

from accounts.addresses import AddressError, normalise_address
from aliases.addresses import is_reserved
from core.spreadsheets import without_guard

ROWS_MAX = 50_000
FILE_MAX_BYTES = 10 * 1024 * 1024
# Mailu's documents are five deep and some dozen values for each user and alias.
YAML_DEPTH_MAX = 20
YAML_VALUES_MAX = 1_000_000

SIMPLELOGIN, ADDY, MAILU, ANONMAIL = "simplelogin", "addy", "mailu", "anonmail"
FORMATS = (SIMPLELOGIN, ADDY, MAILU, ANONMAIL)


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


def decode(data: bytes) -> str:
    """The file's text. Raises ImportFileError where it is too large, or no UTF-8 text."""
    if len(data) > FILE_MAX_BYTES:
        raise ImportFileError(too_large())
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportFileError(gettext("The file is no text in UTF-8. Save it as CSV in UTF-8.")) from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise ImportFileError(
            gettext("Line %(line)s of the file holds a character that no text has (NUL).") % {"line": line}
        )
    return text


def too_large() -> str:
    """The sentence about a file that is too large."""
    return gettext("The file is too large: at most %(max)s MB can be imported at once.") % {
        "max": FILE_MAX_BYTES // 2**20
    }


def read(text: str, format: str) -> Document:
    """What a text in one of FORMATS holds. Raises ImportFileError."""
    if format == MAILU:
        return _read_mailu(text)
    return Document(_read_csv(text, format))


def format_of(text: str) -> str:
    """Which of FORMATS the text is in, by its sections or columns. Raises ImportFileError."""
    if _is_mailu(text):
        return MAILU
    columns = set(_header(_records(text))[1])
    if "address" in columns:
        return ANONMAIL
    if "alias" in columns and "description" not in columns:
        return SIMPLELOGIN
    if columns & {"alias", "email"} or {"local_part", "domain"} <= columns:
        return ADDY
    raise ImportFileError(
        gettext(
            "The first line names no column that is known here. SimpleLogin's files have “alias”, addy's "
            "“email”, Anonmail's “address”."
        )
    )


def printable(text: str) -> str:
    """The text as it can be stored and printed: what is no character is shown as one that stands for it."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]", "�", text)


# --- CSV -----------------------------------------------------------------------------------------

_DELIMITERS = ",;\t"
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not empty, with the line on which it begins. Raises ImportFileError."""
    first = text.lstrip("\r\n").partition("\n")[0]
    # Spreadsheets save with the separator of their language.
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise ImportFileError(
                gettext("The record that begins on line %(line)s is no CSV.") % {"line": line}
            ) from error
        if record is None:
            return
        if any(record):
            yield line, record
        line = reader.line_num + 1


def _header(records: Iterator[tuple[int, list[str]]]) -> tuple[int, list[str]]:
    for line, record in records:
        columns = [name.strip().lower() for name in record]
        named = [name for name in columns if name]
        if len(set(named)) < len(named):
            raise ImportFileError(gettext("Two columns have the same name."))
        return line, columns
    raise ImportFileError(gettext("The file is empty."))


def _read_csv(text: str, format: str) -> list[Row]:
    records = _records(text)
    _line, columns = _header(records)
    read_row, needed = _CSV_READERS[format]
    if not any(alternative <= set(columns) for alternative in needed):
        raise ImportFileError(
            gettext("The first line must name the column “%(column)s”.") % {"column": min(needed[0])}
        )
    rows: list[Row] = []
    for line, record in records:
        if len(rows) == ROWS_MAX:
            raise ImportFileError(_too_many())
        cells = dict(zip(columns, record, strict=False))
        try:
            if len(record) > len(columns):
                raise ValueError(gettext("The line has more cells than there are columns."))
            rows.append(read_row(line, cells))
        except ValueError as error:
            rows.append(Row(line, cells.get(min(needed[0]), ""), problem=str(error)))
    return rows


def _too_many() -> str:
    return gettext("The file has too many rows: at most %(max)s can be imported at once.") % {
        "max": number_format(ROWS_MAX, force_grouping=True)
    }


def _flag(cells: Mapping[str, str], column: str, *, missing: bool, empty: bool = False) -> bool:
    """A cell that says yes or no. Raises ValueError where it says something else."""
    if column not in cells:
        return missing
    word = cells[column].strip().lower()
    if not word:
        return empty
    if word not in _TRUE | _FALSE:
        raise ValueError(
            gettext("“%(word)s” in the column %(column)s is neither true nor false.")
            % {"word": printable(word[:40]), "column": column}
        )
    return word in _TRUE


def _simplelogin_row(line: int, cells: Mapping[str, str]) -> Row:
    return Row(
        line,
        cells.get("alias", "").strip(),
        enabled=_flag(cells, "enabled", missing=True, empty=True),
        note=without_guard(cells.get("note", "")),
        destinations=tuple(without_guard(cells.get("mailboxes", "")).split()),
    )


def _addy_row(line: int, cells: Mapping[str, str]) -> Row:
    address = cells.get("email") or cells.get("alias") or ""
    if not address and cells.get("local_part"):
        address = f"{cells['local_part']}@{cells.get('domain', '')}"
    recipients = re.split(r"[\s,;]+", cells.get("recipients", ""))
    return Row(
        line,
        address.strip(),
        # Its export leaves the cell of what is false empty.
        enabled=_flag(cells, "active", missing=True),
        pinned=_flag(cells, "pinned", missing=False),
        deleted=bool(cells.get("deleted_at", "").strip()),
        note=without_guard(cells.get("description", "")),
        name=without_guard(cells.get("from_name", "")),
        # Ids of recipients say nothing here.
        destinations=tuple(recipient for recipient in recipients if "@" in recipient),
    )


def _anonmail_row(line: int, cells: Mapping[str, str]) -> Row:
    return Row(
        line,
        without_guard(cells.get("address", "").strip()),
        enabled=_flag(cells, "enabled", missing=True, empty=True),
        pinned=_flag(cells, "pinned", missing=False),
        deleted=bool(cells.get("deleted", "").strip()),
        note=without_guard(cells.get("note", "")),
        name=without_guard(cells.get("name", "")),
        hostname=without_guard(cells.get("hostname", "")),
        destinations=tuple(without_guard(cells.get("destinations", "")).split()),
        expiry=_expiry(cells),
    )


def _expiry(cells: Mapping[str, str]) -> dict[str, Any]:
    """The rules of expiry in the cells. Raises ValueError where one says no moment, or no number."""
    rules: dict[str, Any] = {}
    if moment := cells.get("expires_at", "").strip():
        rules["expires_at"] = _moment(moment)
    for column in ("idle_days", "unused_days"):
        if days := cells.get(column, "").strip():
            if not re.fullmatch(r"[0-9]{1,9}", days):
                raise ValueError(
                    gettext("“%(word)s” in the column %(column)s is no number of days.")
                    % {"word": printable(days[:40]), "column": column}
                )
            rules[column] = int(days)
    if rules:
        rules = {"expires_at": None, "idle_days": None, "unused_days": None} | rules
    return rules


def _moment(text: str) -> datetime:
    """The moment of a text in ISO 8601, in UTC where it names no offset. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            gettext("“%(word)s” in the column expires_at is no date.") % {"word": printable(text[:40])}
        ) from error


_CSV_READERS: dict[str, tuple[Callable[[int, Mapping[str, str]], Row], tuple[set[str], ...]]] = {
    SIMPLELOGIN: (_simplelogin_row, ({"alias"},)),
    ADDY: (_addy_row, ({"email"}, {"alias"}, {"local_part", "domain"})),
    ANONMAIL: (_anonmail_row, ({"address"},)),
}


# --- Mailu ---------------------------------------------------------------------------------------


class _Item(dict[str, Any]):
    """A mapping of a document, and where it stands."""

    line = 0


def _is_mailu(text: str) -> bool:
    """Whether it begins as JSON does, or with a section in YAML after comments and a document's mark."""
    for line in io.StringIO(text):
        begins = line.strip()
        if begins and begins != "---" and not begins.startswith("#"):
            return bool(re.match(r"\{|(config|domain|user|relay|alias)\s*:(\s|$)", begins))
    return False


def _read_mailu(text: str) -> Document:
    """Mailu's document. What is no alias of one person's is left out, with the reason."""
    is_json = text.lstrip().startswith("{")
    document = _parse_json(text) if is_json else _parse_yaml(text)
    if not isinstance(document, _Item) or not document.keys() & {"domain", "user", "alias"}:
        raise ImportFileError(gettext("This is no file of Mailu's config-export."))
    aliases = _section(document, "alias")
    domains = [
        DomainRow(item.line, _text(item, "name"), _is_true(item, "anonmail_enabled"), _text(item, "comment"))
        for item in _section(document, "domain")
    ]
    users = [
        UserRow(
            item.line,
            _text(item, "email"),
            _text(item, "displayed_name"),
            _is_true(item, "enabled", missing=True),
        )
        for item in _section(document, "user")
    ]
    people = {_one_form(user.email) for user in users}
    rows: list[Row] = []
    left_out: list[LeftOut] = []
    for item in aliases:
        row, reason = _mailu_row(item, people)
        if reason:
            left_out.append(LeftOut(row.line, printable(row.address[:80]), reason))
        else:
            rows.append(row)
    return Document(rows, left_out, domains, users, is_json)


def _mailu_row(item: _Item, people: set[str]) -> tuple[Row, str]:
    """The alias, and the reason for which it is left out."""
    destination = item.get("destination") or []
    if isinstance(destination, str):
        destination = [part.strip() for part in destination.split(",") if part.strip()]
    reason = problem = ""
    if not isinstance(destination, list) or not all(isinstance(part, str) for part in destination):
        destination, problem = [], gettext("The destinations are no list of addresses.")
    owner = _text(item, "owner_email")
    row = Row(
        item.line,
        _text(item, "email"),
        enabled=not _is_true(item, "disabled") and _is_true(item, "enabled", missing=True),
        # What the person wrote; on a standard alias the admin's comment is all there is.
        note=_text(item, "note") or _text(item, "comment"),
        hostname=_text(item, "hostname"),
        destinations=tuple(destination),
        owner=owner or (destination[0] if len(destination) == 1 else ""),
        problem=problem,
    )
    if _is_true(item, "wildcard"):
        reason = gettext("A pattern is no address.")
    elif not owner and not problem:
        if len(destination) != 1:
            reason = gettext("It belongs to nobody: it has no owner, and not one destination alone.")
        elif is_reserved(row.address.lower().partition("@")[0]):
            reason = gettext("This name is reserved: it stays with the mail server.")
        elif people and _one_form(destination[0]) not in people:
            reason = gettext("Its destination is no user of that server.")
    return row, reason


def _one_form(address: str) -> str:
    try:
        return normalise_address(address)
    except AddressError:
        return address


def _section(document: _Item, name: str) -> list[_Item]:
    items = document.get(name) or []
    if not isinstance(items, list) or not all(isinstance(item, _Item) for item in items):
        raise ImportFileError(gettext("“%(section)s” is no list of entries.") % {"section": name})
    if len(items) > ROWS_MAX:
        raise ImportFileError(_too_many())
    return items


def _text(item: _Item, key: str) -> str:
    value = item.get(key)
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def _is_true(item: _Item, key: str, *, missing: bool = False) -> bool:
    value = item.get(key)
    if value is None:
        return missing
    return value if isinstance(value, bool) else str(value).strip().lower() in _TRUE


def _parse_json(text: str) -> Any:
    try:
        document = json.loads(text, object_pairs_hook=_Item)
    except RecursionError as error:
        raise ImportFileError(gettext("The document is nested too deeply.")) from error
    except ValueError as error:
        raise ImportFileError(gettext("The file is no JSON.")) from error
    for items in document.values():
        for number, item in enumerate(items if isinstance(items, list) else (), 1):
            if isinstance(item, _Item):
                item.line = number
    return document


# PyYAML's safe loaders make nothing but plain values; the one over libyaml is twenty times as quick.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
# What Mailu's own writer makes of true and false.
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def _parse_yaml(text: str) -> Any:
    """The one document in the text: mappings as _Item, lists, texts, booleans and None; numbers stay texts.

    Built from the parser's events, so that depth and size are bounded before anything is made, and
    nothing can refer to anything else (no “billion laughs”). Raises ImportFileError.
    """
    if re.search(r"^%", text, re.MULTILINE):
        # libyaml compares each %TAG with all before it; Mailu writes no directives.
        raise ImportFileError(gettext("The file is no YAML that Mailu writes."))
    root: list[Any] = []
    # Innermost last: a list, or a mapping and the key that waits for its value.
    stack: list[tuple[Any, list[Any]]] = [(root, [])]
    values = 0

    def put(value: Any) -> None:
        container, waiting = stack[-1]
        if isinstance(container, list):
            container.append(value)
        elif not waiting:
            waiting.append(value)
        else:
            key = waiting.pop()
            if not isinstance(key, str):
                raise ImportFileError(gettext("The file is no YAML that Mailu writes."))
            container[key] = value

    try:
        for event in yaml.parse(text, Loader=_Loader):
            values += 1
            if values > YAML_VALUES_MAX:
                raise ImportFileError(gettext("The document has too many values."))
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = _line(event)
                raise ImportFileError(
                    gettext("Line %(line)s refers to another part of the document: that is not read here.")
                    % {"line": line}
                )
            if isinstance(event, yaml.ScalarEvent):
                put(_scalar(event))
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                made: Any = [] if isinstance(event, yaml.SequenceStartEvent) else _Item()
                if isinstance(made, _Item):
                    made.line = _line(event)
                put(made)
                stack.append((made, []))
                if len(stack) > YAML_DEPTH_MAX:
                    raise ImportFileError(gettext("The document is nested too deeply."))
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                stack.pop()
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = gettext(" (line %(line)s)") % {"line": mark.line + 1} if mark else ""
        raise ImportFileError(gettext("The file is no YAML.") + where) from error
    if len(root) != 1:
        raise ImportFileError(gettext("This is no file of Mailu's config-export."))
    return root[0]


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _scalar(event: Any) -> Any:
    if event.style is None and event.tag is None:
        if event.value in _NULLS:
            return None
        return _BOOLEANS.get(event.value, event.value)
    return event.value
