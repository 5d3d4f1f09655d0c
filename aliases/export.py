"""A person's aliases as files that other programs read."""

import csv
from collections.abc import Iterator

from accounts.models import User
from aliases.models import Alias
from core.spreadsheets import harmless

# SimpleLogin's export, whose columns its import understands too; mailboxes are separated by spaces.
SIMPLELOGIN_COLUMNS = ("alias", "note", "enabled", "mailboxes")


class Echo:
    """A file that hands back what is written."""

    def write(self, value: str) -> str:
        return value


def simplelogin_csv(user: User) -> Iterator[str]:
    """The user's aliases line by line, as SimpleLogin's export has them."""
    writer = csv.writer(Echo())
    yield writer.writerow(SIMPLELOGIN_COLUMNS)
    aliases = Alias.objects.owned_by(user).present().with_destinations().order_by("pk")
    for alias in aliases.iterator(chunk_size=1000):
        mailboxes = " ".join(address.email for address in alias.destination_addresses)
        yield writer.writerow([alias.address, harmless(alias.note), alias.enabled, harmless(mailboxes)])
