"""addy.io's CSV of aliases: the columns of its alias table."""

import re
from collections.abc import Mapping

from core.spreadsheets import without_guard
from transfer.formats.table import flag, read_table
from transfer.rows import Document, Row


def read(text: str) -> Document:
    """The aliases in addy's export. Raises ImportFileError."""
    return read_table(text, _row, {"email"}, {"alias"}, {"local_part", "domain"})


def _row(line: int, cells: Mapping[str, str]) -> Row:
    address = cells.get("email") or cells.get("alias") or ""
    if not address and cells.get("local_part"):
        address = f"{cells['local_part']}@{cells.get('domain', '')}"
    recipients = re.split(r"[\s,;]+", cells.get("recipients", ""))
    return Row(
        line,
        address.strip(),
        # Its export leaves a false cell empty.
        enabled=flag(cells, "active", missing=True),
        pinned=flag(cells, "pinned", missing=False),
        deleted=bool(cells.get("deleted_at", "").strip()),
        note=without_guard(cells.get("description", "")),
        name=without_guard(cells.get("from_name", "")),
        # Recipient ids mean nothing here.
        destinations=tuple(recipient for recipient in recipients if "@" in recipient),
    )
