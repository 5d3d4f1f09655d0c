"""SimpleLogin's CSV of aliases: `alias,note,enabled,mailboxes`; or the archive of all of a person's data."""

from collections.abc import Iterator, Mapping

from accounts.models import User
from aliases.models import Alias
from core.spreadsheets import csv_lines, without_guard
from transfer.formats import simplelogin_data
from transfer.formats.table import flag, read_table
from transfer.rows import Document, Row

# Of its export; mailboxes are separated by spaces.
COLUMNS = ("alias", "note", "enabled", "mailboxes")


def read(text: str) -> Document:
    """The aliases in SimpleLogin's export. Raises ImportFileError."""
    if simplelogin_data.is_data(text):
        return simplelogin_data.read(text)
    return read_table(text, _row, {"alias"})


def _row(line: int, cells: Mapping[str, str]) -> Row:
    return Row(
        line,
        cells.get("alias", "").strip(),
        enabled=flag(cells, "enabled", missing=True, empty=True),
        note=without_guard(cells.get("note", "")),
        destinations=tuple(without_guard(cells.get("mailboxes", "")).split()),
    )


def simplelogin_csv(user: User) -> Iterator[str]:
    """The user's aliases line by line, as SimpleLogin's export has them."""
    aliases = Alias.objects.owned_by(user).present().with_destinations().order_by("pk")
    rows = (
        (
            alias.address,
            alias.note,
            alias.enabled,
            " ".join(address.email for address in alias.destination_addresses),
        )
        for alias in aliases.iterator(chunk_size=1000)
    )
    return csv_lines(COLUMNS, rows)
