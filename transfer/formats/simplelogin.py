"""A person's aliases as files that other programs read."""

from collections.abc import Iterator

from accounts.models import User
from aliases.models import Alias
from core.spreadsheets import csv_lines

# SimpleLogin's export, whose columns its import understands too; mailboxes are separated by spaces.
SIMPLELOGIN_COLUMNS = ("alias", "note", "enabled", "mailboxes")


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
    return csv_lines(SIMPLELOGIN_COLUMNS, rows)
