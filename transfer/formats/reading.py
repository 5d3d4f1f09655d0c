"""Reading other services' files of aliases into rows. Pure: nothing here asks the database.

SimpleLogin's CSV (`alias,note,enabled,mailboxes`), addy's CSV (the columns of its alias table), our own
(transfer.personal_download), and Mailu's `config-export` (import_mailu_file). Columns are found by name.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext

from core.spreadsheets import without_guard
from transfer.formats.mailu import is_mailu, read_mailu
from transfer.rows import Document, ImportFileError, Row, check_count, printable, yes_or_no

FILE_MAX_BYTES = 10 * 1024 * 1024

SIMPLELOGIN, ADDY, MAILU, ANONMAIL = "simplelogin", "addy", "mailu", "anonmail"
FORMATS = (SIMPLELOGIN, ADDY, MAILU, ANONMAIL)


def decode(data: bytes) -> str:
    """The file's text. Raises ImportFileError where it is too large, or not text in a form of Unicode."""
    if len(data) > FILE_MAX_BYTES:
        raise ImportFileError(too_large())
    if sentence := _other_kind(data):
        raise ImportFileError(sentence)
    try:
        text = data.decode(_encoding(data))
    except UnicodeDecodeError as error:
        raise ImportFileError(
            gettext("The file is not text in UTF-8. Save it as “CSV UTF-8” and choose it again.")
        ) from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise ImportFileError(
            gettext("Line %(line)s of the file holds a character that no text has (NUL).") % {"line": line}
        )
    return text


def _encoding(data: bytes) -> str:
    """Which form of Unicode it is in, by its mark or its first letters. Excel's “Unicode text” is UTF-16."""
    for mark, name in (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return name
    if len(data) >= 4 and data[:2].count(0) == data[2:4].count(0) == 1:
        return "utf-16-be" if data[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def _other_kind(data: bytes) -> str:
    """What to do with a file that is not text at all, known by how it begins; "" for any other."""
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        inside = data[:4096]
        if any(name in inside for name in (b"[Content_Types].xml", b"xl/", b"application/vnd.")):
            return _spreadsheet()
        return _archive()
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _spreadsheet()  # .xls
    if data.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"(\xb5/\xfd")):
        return _archive()
    if data.startswith((b"%PDF-", b"{\\rtf")) or data[:4096].lstrip(b"\xef\xbb\xbf\r\n\t ").startswith(b"<"):
        return gettext(
            "The file is a document to be read (PDF, RTF, HTML or XML). Export the aliases as CSV instead."
        )
    return ""


def _spreadsheet() -> str:
    return gettext(
        "The file is a spreadsheet. Open it in a spreadsheet program, save it as “CSV UTF-8” and choose that."
    )


def _archive() -> str:
    return gettext("The file is packed. Unpack it and choose the file inside.")


def too_large() -> str:
    """The sentence about a file that is too large."""
    return gettext(
        "The file is too large: at most %(max)s MB can be imported at once. Split it in several."
    ) % {"max": FILE_MAX_BYTES // 2**20}


def read(text: str, format: str) -> Document:
    """What a text in one of FORMATS holds. Raises ImportFileError."""
    if format == MAILU:
        return read_mailu(text)
    return Document(_read_csv(text, format))


def format_of(text: str) -> str:
    """Which of FORMATS the text is in, by its sections or columns. Raises ImportFileError."""
    if is_mailu(text):
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


_DELIMITERS = ",;\t|"
# What is read of a file, in whatever format.
_COLUMNS = frozenset(
    """
    active address alias deleted deleted_at description destinations domain email enabled expires_at
    from_name hostname idle_days local_part mailboxes name note pinned recipients unused_days
    """.split()  # noqa: SIM905
)
# Excel's word to itself, before the columns.
_SEPARATOR = re.compile(r"(?i)\s*\"?sep=([,;|\t])\"?[,;|\t ]*(?:\r\n|\r|\n|$)")


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not empty, with the line on which it begins. Raises ImportFileError."""
    line = 1
    if said := _SEPARATOR.match(text):
        delimiter, text = said[1], text[said.end() :]
        line += len(said[0].splitlines())
    else:
        first = text.lstrip("\r\n").partition("\n")[0]
        # Spreadsheets save with the separator of their language.
        delimiter = max(_DELIMITERS, key=first.count)
    before = line - 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise ImportFileError(
                gettext(
                    "The record that begins on line %(line)s is not valid CSV: look for a quotation mark "
                    "that is not closed, or that should be doubled."
                )
                % {"line": line}
            ) from error
        if record is None:
            return
        if any(record):
            yield line, record
        line = before + reader.line_num + 1


def _header(records: Iterator[tuple[int, list[str]]]) -> tuple[int, list[str]]:
    for line, record in records:
        columns = [name.strip().lower() for name in record]
        # What is not read may be there as often as it likes.
        if twice := [name for name, times in Counter(columns).items() if times > 1 and name in _COLUMNS]:
            raise ImportFileError(
                gettext("Two columns are called “%(column)s”. Rename or remove one of them.")
                % {"column": twice[0]}
            )
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
        check_count(len(rows) + 1)
        cells = dict(zip(columns, record, strict=False))
        try:
            if len(record) > len(columns):
                raise ValueError(gettext("The line has more cells than there are columns."))
            rows.append(read_row(line, cells))
        except ValueError as error:
            rows.append(Row(line, cells.get(min(needed[0]), ""), problem=str(error)))
    return rows


def _flag(cells: Mapping[str, str], column: str, *, missing: bool, empty: bool = False) -> bool:
    """A cell that says yes or no. Raises ValueError where it says something else."""
    if column not in cells:
        return missing
    word = cells[column].strip()
    if not word:
        return empty
    flag = yes_or_no(word)
    if flag is None:
        raise ValueError(
            gettext("“%(word)s” in the column %(column)s is neither true nor false.")
            % {"word": printable(word[:40]), "column": column}
        )
    return flag


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
