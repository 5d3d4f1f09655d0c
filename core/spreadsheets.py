"""CSV files that people open in a spreadsheet."""

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.http import StreamingHttpResponse


class _Echo:
    """A file that returns what is written."""

    def write(self, value: str) -> str:
        return value


def csv_lines(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The lines of a CSV file (RFC 4180), one after another, safe to open in a spreadsheet."""
    writer = csv.writer(_Echo())
    yield writer.writerow(columns)
    for row in rows:
        yield writer.writerow([harmless(value) for value in row])


def csv_download(lines: Iterable[str], file_name: str) -> StreamingHttpResponse:
    """The lines as a CSV file to download."""
    disposition = {"Content-Disposition": f'attachment; filename="{file_name}"'}
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=disposition)


def harmless(value: Any) -> Any:
    """The value; text that a spreadsheet would run as a formula gets an apostrophe (OWASP, CSV injection).

    So does text that seems to have one already: `without_guard` removes exactly one.
    """
    if isinstance(value, str) and re.match(r"'*[=+\-@\t\r]", value):
        return f"'{value}"
    return value


def without_guard(text: str) -> str:
    """A text from one of our CSV files, without that apostrophe."""
    return text[1:] if re.match(r"'+[=+\-@\t\r]", text) else text
