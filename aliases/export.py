"""A person's aliases as files that other programs read."""

import csv
import re
from collections.abc import Iterator
from typing import Any

from accounts.models import User
from aliases.models import Alias

# SimpleLogin's export, whose columns its import understands too; mailboxes are separated by spaces.
SIMPLELOGIN_COLUMNS = ("alias", "note", "enabled", "mailboxes")


class Echo:
    """A file that hands back what is written."""

    def write(self, value: str) -> str:
        return value


def harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe (OWASP, CSV injection).

    So does one that looks as if it had got one: `import_formats.without_guard` takes exactly one away.
    """
    if isinstance(value, str) and re.match(r"'*[=+\-@\t\r]", value):
        return f"'{value}"
    return value


def simplelogin_csv(user: User) -> Iterator[str]:
    """The user's aliases line by line, as SimpleLogin's export has them."""
    writer = csv.writer(Echo())
    yield writer.writerow(SIMPLELOGIN_COLUMNS)
    aliases = Alias.objects.owned_by(user).present().with_destinations().order_by("pk")
    for alias in aliases.iterator(chunk_size=1000):
        mailboxes = " ".join(address.email for address in alias.destination_addresses)
        yield writer.writerow([alias.address, harmless(alias.note), alias.enabled, harmless(mailboxes)])
