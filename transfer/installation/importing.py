"""Creates everything that is in the document."""

from collections.abc import Callable
from typing import Any

from django.db import transaction

from transfer.installation.aliases import create_aliases, create_contacts, create_senders
from transfer.installation.document import FORMAT, VERSION, ConfigError, Row
from transfer.installation.people import (
    create_domain,
    create_grant,
    create_name_space,
    create_preferences,
    create_token,
    create_user,
)
from transfer.installation.reading import Reading

# In the order in which they name each other: a row at a time, and all rows at once.
CREATE: dict[str, Callable[[Reading, Row], None]] = {
    "users": create_user,
    "domains": create_domain,
    "preferences": create_preferences,
    "grants": create_grant,
    "name_spaces": create_name_space,
    "tokens": create_token,
}
CREATE_ALL: dict[str, Callable[[Reading, list[tuple[str, Row]]], None]] = {
    "aliases": create_aliases,
    "contacts": create_contacts,
    "senders": create_senders,
}


def import_config(document: Any) -> dict[str, int]:
    """Create everything in the document and return how many of each kind; all of it, or nothing.

    Nothing is merged: a user, domain or alias that is there already must not be in the document. Raises
    ConfigError with the problems found.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(["This is not an export of Anonmail's configuration."])
    if document.get("version") != VERSION:
        raise ConfigError(
            [f"The export has version {document.get('version')}; this Anonmail reads {VERSION}."]
        )
    with transaction.atomic():
        reading = Reading()
        counts = _load(reading, document)
        if reading.problems:
            raise ConfigError(reading.problems)
    return counts


def _load(reading: Reading, document: Row) -> dict[str, int]:
    """Create the rows, and return how many of each kind there are."""
    counts: dict[str, int] = {}
    for kind in (*CREATE, *CREATE_ALL):
        rows = document.get(kind, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            reading.problems.append(f"{kind}: must be an array of objects.")
            continue
        counts[kind] = len(rows)
        places = [(f"{kind}[{number}]", row) for number, row in enumerate(rows)]
        if kind in CREATE_ALL:
            CREATE_ALL[kind](reading, places)
            continue
        for place, row in places:
            with reading.reporting(place):
                CREATE[kind](reading, row)
        if reading.problems:
            # What follows would only complain about what is missing now.
            break
    return counts
