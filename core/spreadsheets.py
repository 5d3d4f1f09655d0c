"""Cells of CSV files that people open in a spreadsheet."""

import re
from typing import Any


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
