"""SimpleLogin's export, read into rows."""

import io
import json
import zipfile
from typing import Any

import pytest

from accounts.models import User
from contacts.models import Contact
from tests.transfer.attempt import attempt
from tests.transfer.samples import SIMPLELOGIN_CSV
from transfer.formats import SIMPLELOGIN, format_of, read, simplelogin_data
from transfer.formats.text import decode
from transfer.rows import ImportFileError


def test_simplelogins_export_is_read() -> None:
    one, off, bare = read(SIMPLELOGIN_CSV, SIMPLELOGIN).rows

    assert (one.line, one.address, one.enabled) == (2, "shop.one@example.com", True)
    assert one.note == 'Shoes, order "4711"\nsecond line'
    assert one.destinations == ("alice@example.com", "alice@home.test")
    assert (off.line, off.enabled) == (4, False)
    assert bare.destinations == ()


def test_the_columns_of_simplelogins_import_are_enough() -> None:
    (row,) = read("Alias, note ,mailboxes\nx.y@example.com,hello,\n", SIMPLELOGIN).rows

    assert (row.address, row.note, row.enabled, row.problem) == ("x.y@example.com", "hello", True, "")


# As SimpleLogin's job writes it, without most of the columns.
DATA: dict[str, Any] = {
    "user": {"id": 1, "email": "alice@example.com"},
    "aliases": [
        {
            "id": 7,
            "email": "shop.one@example.com",
            "name": "Alice",
            "enabled": True,
            "pinned": True,
            "note": "Shoes",
            "mailbox_id": 3,
            "delete_on": None,
        },
        {"id": 8, "email": "gone@example.com", "enabled": False, "note": None, "delete_on": "2026-11-01"},
    ],
    "mailboxes": [{"id": 3, "email": "alice@example.com"}],
    "contacts": [
        {"alias_id": 7, "website_email": "Jane@Shop.test", "name": "Jane | x@y", "block_forward": False},
        {"alias_id": 7, "website_email": "spam@shop.test", "name": None, "block_forward": True},
        {"alias_id": 7, "website_email": "", "name": None, "block_forward": False, "invalid_email": True},
        {"alias_id": 99, "website_email": "nobody@shop.test", "name": None},
    ],
}


def packed(files: dict[str, Any]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(f"{name}.json", content if isinstance(content, str) else json.dumps(content))
    return archive.getvalue()


@pytest.mark.django_db
def test_the_archive_of_all_data_brings_aliases_with_their_contacts(alice: User) -> None:
    text = decode(packed(DATA))
    assert format_of(text) == SIMPLELOGIN
    document = read(text, SIMPLELOGIN)
    one, gone = document.rows
    assert (one.enabled, one.pinned, one.note, one.name) == (True, True, "Shoes", "Alice")
    assert (gone.enabled, gone.deleted, one.destinations) == (False, True, ("alice@example.com",))
    assert document.is_json

    attempt(alice, document.rows).make()

    contacts = Contact.objects.order_by("pk").values_list("alias__address", "address", "name", "blocked")
    assert list(contacts) == [
        ("shop.one@example.com", "jane@shop.test", "Jane | x at y", False),
        ("shop.one@example.com", "spam@shop.test", "", True),
    ]


def test_an_archive_without_contacts_brings_none() -> None:
    (row, _gone) = read(decode(packed({"aliases": DATA["aliases"]})), SIMPLELOGIN).rows

    assert (row.contacts, row.destinations) == ([], ())


@pytest.mark.parametrize(
    "files",
    [
        {"aliases": "{}"},
        {"aliases": "[7]"},
        {"aliases": "nonsense"},
        {"aliases": "[" * 100_000},
        {"aliases": [], "contacts": {"a": 1}},
        {"aliases": "[]}{", "mailboxes": "[]"},
    ],
)
def test_an_archive_of_something_else_is_refused(files: dict[str, Any]) -> None:
    with pytest.raises(ImportFileError, match="not those of SimpleLogin"):
        read(decode(packed(files)), SIMPLELOGIN)


def test_another_archive_must_be_unpacked() -> None:
    for data in (packed({"x": []}), packed(DATA)[:200], packed(DATA).replace(b"aliases", b"aliasex")):
        with pytest.raises(ImportFileError, match="Unpack it"):
            decode(data)


def test_an_archive_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simplelogin_data, "_UNPACKED_MAX", 1_000)

    with pytest.raises(ImportFileError, match="too large"):
        decode(packed({"aliases": "[" + " " * 2_000 + "]"}))
