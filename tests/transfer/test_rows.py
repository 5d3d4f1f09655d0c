"""Rows of a file, and how they are kept."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from transfer import rows as import_rows
from transfer.rows import Document, DomainRow, LeftOut, Row, UserRow, printable, yes_or_no


def test_no_word_means_both_yes_and_no() -> None:
    assert not import_rows._TRUE & import_rows._FALSE
    assert all(word == word.casefold() for word in import_rows._TRUE | import_rows._FALSE)


@given(st.text(max_size=8))
def test_any_other_word_is_neither(word: str) -> None:
    assert yes_or_no(word) in {True, False, None}
    assert yes_or_no(f"{word}?!") is None


def test_what_no_terminal_shows_is_replaced() -> None:
    assert printable("a\ud800\x1b[2J\nb") == "a��[2J�b"


def test_a_document_comes_back_from_json_as_it_was() -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    expiry = {"expires_at": moment, "idle_days": None, "unused_days": 9}
    document = Document(
        rows=[
            Row(2, "a@example.com", note="☃", destinations=["b@home.test"], expiry=expiry),
            Row(3, "", destinations=[], problem="x"),
        ],
        left_out=[LeftOut(4, "c@example.com", "why")],
        domains=[DomainRow(1, "example.com", True, "")],
        users=[UserRow(1, "b@home.test", "B", False)],
        is_json=True,
    )

    assert Document.from_json(json.loads(json.dumps(document.as_json()))) == document
