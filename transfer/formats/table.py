"""CSV files as rows; columns are found by their names. Pure: nothing here uses the database."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from django.utils.translation import gettext

from transfer.rows import Document, ImportFileError, Row, check_count, printable, yes_or_no

RowReader = Callable[[int, Mapping[str, str]], Row]

_DELIMITERS = ",;\t|"
# The columns that some format reads.
_COLUMNS = frozenset(
    """
    active address admits alias contacts deleted deleted_at description destinations domain email enabled
    expires_at from_name hides_replies hostname idle_days local_part mailboxes name note pinned recipients
    unused_days
    """.split()  # noqa: SIM905
)
# Excel's line about the separator, before the columns.
_SEPARATOR = re.compile(r"(?i)\s*\"?sep=([,;|\t])\"?[,;|\t ]*(?:\r\n|\r|\n|$)")


def records(text: str) -> Iterator[tuple[int, list[str]]]:
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


def header(lines: Iterator[tuple[int, list[str]]]) -> list[str]:
    """The names of the columns, from the first record. Raises ImportFileError."""
    for _line, record in lines:
        columns = [name.strip().lower() for name in record]
        # Columns that nobody reads may be repeated.
        if twice := [name for name, times in Counter(columns).items() if times > 1 and name in _COLUMNS]:
            raise ImportFileError(
                gettext("Two columns are called “%(column)s”. Rename or remove one of them.")
                % {"column": twice[0]}
            )
        return columns
    raise ImportFileError(gettext("The file is empty."))


def read_table(text: str, read_row: RowReader, *alternatives: set[str]) -> Document:
    """The file's rows. Its columns must include one of the alternatives. Raises ImportFileError.

    A ValueError of `read_row` becomes the row's problem.
    """
    lines = records(text)
    columns = header(lines)
    address = min(alternatives[0])
    if not any(alternative <= set(columns) for alternative in alternatives):
        raise ImportFileError(
            gettext("The first line must name the column “%(column)s”.") % {"column": address}
        )
    rows: list[Row] = []
    for line, record in lines:
        check_count(len(rows) + 1)
        cells = dict(zip(columns, record, strict=False))
        try:
            if len(record) > len(columns):
                raise ValueError(gettext("The line has more cells than there are columns."))
            rows.append(read_row(line, cells))
        except ValueError as error:
            rows.append(Row(line, cells.get(address, ""), problem=str(error)))
    return Document(rows)


def flag(cells: Mapping[str, str], column: str, *, missing: bool, empty: bool = False) -> bool:
    """A cell that says yes or no. Raises ValueError if it says neither."""
    if column not in cells:
        return missing
    word = cells[column].strip()
    if not word:
        return empty
    value = yes_or_no(word)
    if value is None:
        raise ValueError(
            gettext("“%(word)s” in the column %(column)s is neither true nor false.")
            % {"word": printable(word[:40]), "column": column}
        )
    return value
