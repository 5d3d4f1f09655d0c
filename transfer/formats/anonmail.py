"""Our own CSV of a person's aliases."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import Prefetch
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import User
from aliases.models import Alias, AliasExpiry
from contacts.models import Contact
from core.spreadsheets import csv_lines, without_guard
from transfer.formats.table import flag, read_table
from transfer.rows import Document, Row, printable

COLUMNS = """
    address enabled pinned note name hostname destinations forwards blocks replies created last_activity
    deleted expires_at idle_days unused_days hides_replies admits contacts
""".split()  # noqa: SIM905


def read(text: str) -> Document:
    """The aliases in our export. Raises ImportFileError."""
    return read_table(text, _row, {"address"})


def _row(line: int, cells: Mapping[str, str]) -> Row:
    return Row(
        line,
        without_guard(cells.get("address", "").strip()),
        enabled=flag(cells, "enabled", missing=True, empty=True),
        pinned=flag(cells, "pinned", missing=False),
        deleted=bool(cells.get("deleted", "").strip()),
        note=without_guard(cells.get("note", "")),
        name=without_guard(cells.get("name", "")),
        hostname=without_guard(cells.get("hostname", "")),
        destinations=tuple(without_guard(cells.get("destinations", "")).split()),
        expiry=_expiry(cells),
        hides_replies=flag(cells, "hides_replies", missing=False) if cells.get("hides_replies") else None,
        admits=cells.get("admits", "").strip(),
        contacts=_contacts(cells.get("contacts", "")),
    )


def _contacts(cell: str) -> list[tuple[str, str, bool]]:
    """The correspondents in a cell: a JSON array of objects. Raises ValueError."""
    if not cell.strip():
        return []
    try:
        rows = json.loads(cell)
        contacts = [(row["address"], row.get("name", ""), row.get("blocked", False)) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        contacts = [(None, "", False)]
    for address, name, blocked in contacts:
        if not (isinstance(address, str) and isinstance(name, str) and isinstance(blocked, bool)):
            raise ValueError(
                gettext("The column contacts must have a JSON array of objects with an address.")
            )
    return contacts


def _expiry(cells: Mapping[str, str]) -> dict[str, Any]:
    """The expiry rules in the cells. Raises ValueError for a cell that is not a date or number."""
    rules: dict[str, Any] = {}
    if moment := cells.get("expires_at", "").strip():
        rules["expires_at"] = _moment(moment)
    for column in ("idle_days", "unused_days"):
        if days := cells.get(column, "").strip():
            if not re.fullmatch(r"[0-9]{1,9}", days):
                raise ValueError(
                    gettext("“%(word)s” in the column %(column)s is not a number of days.")
                    % {"word": printable(days[:40]), "column": column}
                )
            rules[column] = int(days)
    if rules:
        rules = {"expires_at": None, "idle_days": None, "unused_days": None} | rules
    return rules


def _moment(text: str) -> datetime:
    """The moment of a text in ISO 8601; UTC if it names no offset. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            gettext("“%(word)s” in the column expires_at is not a date.") % {"word": printable(text[:40])}
        ) from error


def alias_row(alias: Alias) -> dict[str, Any]:
    """An alias as a flat row; dates in ISO 8601, destinations separated by spaces."""
    expiry = getattr(alias, "expiry", None)
    if expiry is None or expiry.expired_at:
        # An alias that has ended, once enabled again, has no rules any more.
        expiry = AliasExpiry()
    # A date that passed while the alias was disabled ends nothing, and no import accepts it.
    day = expiry.expires_at if expiry.expires_at and expiry.expires_at > timezone.now() else None
    return {
        "address": alias.address,
        "enabled": alias.enabled,
        "pinned": alias.pinned,
        "note": alias.note,
        "name": alias.name,
        "hostname": alias.hostname,
        "destinations": " ".join(address.email for address in alias.destination_addresses),
        "forwards": alias.forwards,
        "blocks": alias.blocks,
        "replies": alias.replies,
        "created": alias.created.isoformat(),
        "last_activity": alias.last_activity.isoformat() if alias.last_activity else "",
        "deleted": alias.deleted_at.isoformat() if alias.deleted_at else "",
        "expires_at": day.isoformat() if day else "",
        "idle_days": expiry.idle_days or "",
        "unused_days": expiry.unused_days or "",
        "hides_replies": alias.hides_replies,
        "admits": alias.admits,
        "contacts": contacts_cell(alias.contacts.all()),
    }


def contacts_cell(contacts: Iterable[Contact]) -> str:
    """The correspondents as JSON, without what is of this server alone: reverse addresses and figures."""
    rows = [
        {"address": contact.address, "name": contact.name, "blocked": contact.blocked} for contact in contacts
    ]
    return json.dumps(rows, ensure_ascii=False) if rows else ""


def alias_rows(user: User) -> Iterator[dict[str, Any]]:
    """Every alias of `user`, the deleted ones included, the oldest first."""
    contacts = Prefetch("contacts", Contact.objects.order_by("pk"))
    aliases = Alias.objects.owned_by(user).select_related("expiry").with_destinations().order_by("pk")
    aliases = aliases.prefetch_related(contacts)
    return (alias_row(alias) for alias in aliases.iterator(chunk_size=1000))


def aliases_csv(user: User) -> Iterator[str]:
    """The aliases as the lines of a CSV file."""
    return csv_lines(COLUMNS, (row.values() for row in alias_rows(user)))
