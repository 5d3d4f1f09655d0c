"""SimpleLogin's export of all of a person's data: a ZIP of JSON files, of which three are read."""

import json
from collections import defaultdict
from io import BytesIO
from typing import Any
from zipfile import BadZipFile, ZipFile

from django.utils.translation import gettext

from contacts.addresses import correspondent_address
from core.addresses import AddressError
from core.mailboxes import plain_name
from transfer.rows import CONTACTS_MAX, Document, ImportFileError, Row, check_count, printable

# The text that stands for the archive: an object with the arrays in its files.
PARTS = ("aliases", "mailboxes", "contacts")
_BEGINNING = '{"aliases": '
# Octets of the three files, unpacked.
_UNPACKED_MAX = 50 * 1024 * 1024


def unpack(data: bytes) -> str | None:
    """What the archive has, as one JSON text; None for any other archive. Raises ImportFileError."""
    try:
        with ZipFile(BytesIO(data)) as archive:
            names = set(archive.namelist())
            if "aliases.json" not in names:
                return None
            room = _UNPACKED_MAX
            parts = []
            for part in PARTS:
                octets = b"[]"
                if f"{part}.json" in names:
                    with archive.open(f"{part}.json") as file:
                        octets = file.read(room + 1)
                room -= len(octets)
                if room < 0:
                    raise ImportFileError(gettext("The files in the archive are too large."))
                parts.append(f'"{part}": {octets.decode("utf-8-sig")}')
    except (BadZipFile, EOFError, RuntimeError, NotImplementedError, OSError, ValueError) as error:
        if isinstance(error, ImportFileError):
            raise
        return None
    return "{" + ", ".join(parts) + "}"


def is_data(text: str) -> bool:
    """Whether the text is what `unpack` returns."""
    return text.startswith(_BEGINNING)


def read(text: str) -> Document:
    """The aliases with their contacts. Raises ImportFileError."""
    try:
        data = json.loads(text)
        aliases, mailboxes, contacts = (_objects(data[part]) for part in PARTS)
    except (ValueError, KeyError, RecursionError) as error:
        raise ImportFileError(gettext("The files in the archive are not those of SimpleLogin.")) from error
    check_count(len(aliases))
    email_of = {mailbox.get("id"): mailbox.get("email") for mailbox in mailboxes}
    contacts_of = defaultdict(list)
    for contact in contacts:
        if known := _contact(contact):
            contacts_of[contact.get("alias_id")].append(known)
    return Document(
        [
            _row(number, alias, email_of, contacts_of[alias.get("id")][-CONTACTS_MAX:])
            for number, alias in enumerate(aliases, 1)
        ],
        is_json=True,
    )


def _objects(values: Any) -> list[dict[str, Any]]:
    """An array of objects. Raises ValueError."""
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ValueError
    return values


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _row(number: int, alias: dict[str, Any], email_of: dict[Any, Any], contacts: list[Any]) -> Row:
    mailbox = email_of.get(alias.get("mailbox_id"))
    return Row(
        number,
        printable(_text(alias, "email").strip()),
        enabled=alias.get("enabled") is not False,
        pinned=alias.get("pinned") is True,
        deleted=bool(alias.get("delete_on")),
        note=_text(alias, "note"),
        name=_text(alias, "name"),
        destinations=(mailbox,) if isinstance(mailbox, str) else (),
        contacts=contacts,
    )


def _contact(contact: dict[str, Any]) -> tuple[str, str, bool] | None:
    """Address, name, and whether it is blocked; None for one to which nothing can be sent."""
    try:
        address = correspondent_address(_text(contact, "website_email"))
    except AddressError:
        return None
    return address, plain_name(_text(contact, "name")), contact.get("block_forward") is True
