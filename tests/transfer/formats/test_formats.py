"""Which format a file is in."""

import pytest

from tests.transfer.samples import ADDY_CSV, MAILU_YAML, SIMPLELOGIN_CSV
from transfer.formats import ADDY, ANONMAIL, MAILU, SIMPLELOGIN, format_of, read
from transfer.rows import ImportFileError


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (SIMPLELOGIN_CSV, SIMPLELOGIN),
        (ADDY_CSV, ADDY),
        ("address,enabled\n", ANONMAIL),
        ("alias;note\n", SIMPLELOGIN),
        ("alias\tnote\n", SIMPLELOGIN),
        ("\n\nalias\n", SIMPLELOGIN),
        ('alias,note\na@example.com,"\nalias: []\n"\n', SIMPLELOGIN),
        (MAILU_YAML, MAILU),
        ("# by config-export\n---\n\nuser :\n", MAILU),
        ("alias: []", MAILU),
        (' {"alias": []}', MAILU),
    ],
)
def test_a_file_is_known_by_its_columns_or_sections(text: str, format: str) -> None:
    assert format_of(text) == format


@pytest.mark.parametrize(
    "text", ["", "\n \n", "a,b\n1,2\n", "alias,alias\n", "%PDF-1.7\n", "aliases: []\n", "# alias:"]
)
def test_what_is_none_of_them_is_refused(text: str) -> None:
    with pytest.raises(ImportFileError):
        format_of(text)


@pytest.mark.parametrize(
    ("format", "column"), [(SIMPLELOGIN, "alias"), (ADDY, "email"), (ANONMAIL, "address")]
)
def test_a_line_that_ends_before_its_address_is_a_row_without_one(format: str, column: str) -> None:
    short, whole = read(f"note,{column}\nhello\nhello,x@example.com\n", format).rows

    assert (short.line, short.address) == (2, "")
    assert whole.address == "x@example.com"
