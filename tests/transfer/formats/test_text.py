"""The text of an uploaded file."""

import pytest

from transfer.formats import SIMPLELOGIN, format_of, read
from transfer.formats.text import FILE_MAX_BYTES, decode
from transfer.rows import ImportFileError


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"alias\nca\xe9@example.com\n", "not text in UTF-8"),
        ("\ufeffalias\n".encode("utf-16-le") + b"x", "not text in UTF-8"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0[Content_Types].xml", "is a spreadsheet"),
        (b"PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "is a spreadsheet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "is a spreadsheet"),
        (b"PK\x03\x04\x14\0aliases.csv", "Unpack it"),
        (b"\x1f\x8b\x08\0", "Unpack it"),
        (b"%PDF-1.7\n", "Export the aliases as CSV"),
        (b"{\\rtf1}", "Export the aliases as CSV"),
        (b"\xef\xbb\xbf <!DOCTYPE html>", "Export the aliases as CSV"),
        (b"alias\nx@example.com\n\x00\n", "Line 3 of the file"),
        (b"x" * (FILE_MAX_BYTES + 1), "at most 10 MB"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(ImportFileError, match=sentence):
        decode(data)


@pytest.mark.parametrize("name", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8", "utf-8-sig"])
def test_every_form_of_unicode_is_read(name: str) -> None:
    # Excel's “Unicode text” is in UTF-16, with tabs.
    text = "alias\tnote\tenabled\nx@example.com\tgrün\tWAHR\n"

    (row,) = read(decode(text.encode(name)), SIMPLELOGIN).rows

    assert (row.address, row.note, row.enabled) == ("x@example.com", "grün", True)


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert format_of(decode(b"\xef\xbb\xbfalias\nx@example.com\n")) == SIMPLELOGIN
