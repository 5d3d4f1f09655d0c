"""CSV files that people open in a spreadsheet."""

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Any


class _Echo:
    """A file that hands back what is written."""

    def write(self, value: str) -> str:
        return value


def csv_lines(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The lines of a CSV file (RFC 4180), one after another, safe to open in a spreadsheet."""
    writer = csv.writer(_Echo())
    yield writer.writerow(columns)
    for row in rows:
        yield writer.writerow([harmless(value) for value in row])


def harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe (OWASP, CSV injection).

    So does one that looks as if it had got one: `without_guard` takes exactly one away.
    """
    if isinstance(value, str) and re.match(r"'*[=+\-@\t\r]", value):
        return f"'{value}"
    return value


def without_guard(text: str) -> str:
    """A text of a CSV file of ours, without the apostrophe that keeps spreadsheets from running it."""
    return text[1:] if re.match(r"'+[=+\-@\t\r]", text) else text
