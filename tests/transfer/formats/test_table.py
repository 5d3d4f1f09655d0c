"""CSV files as spreadsheets write them."""

import pytest

from transfer.formats import SIMPLELOGIN, format_of, read
from transfer.formats.text import decode
from transfer.rows import ROWS_MAX, ImportFileError


def test_a_row_that_is_wrong_says_so_and_the_others_are_read() -> None:
    text = "alias,note,enabled\na@example.com,x,maybe\nb@example.com,x,True,extra\n\nc@example.com\n"

    first, second, third = read(text, SIMPLELOGIN).rows

    assert (first.line, first.problem) == (2, "“maybe” in the column enabled is neither true nor false.")
    assert (second.line, second.problem) == (3, "The line has more cells than there are columns.")
    assert (third.line, third.address, third.problem) == (5, "c@example.com", "")


@pytest.mark.parametrize(
    "text",
    [
        'alias,note\na@example.com,"never closed\n',
        'alias,note\na@example.com,"closed"too early\n',
        "alias,note\na@example.com," + "x" * 200_000,
    ],
)
def test_broken_csv_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ImportFileError, match="line 2 is not valid CSV"):
        read(text, SIMPLELOGIN)


def test_too_many_rows_are_refused() -> None:
    fits = "alias\n" + "a\n" * ROWS_MAX

    assert len(read(fits, SIMPLELOGIN).rows) == ROWS_MAX
    with pytest.raises(ImportFileError, match="at most 50,000"):
        read(fits + "a\n", SIMPLELOGIN)


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ("WAHR", "FALSCH"),
        ("VRAI", "FAUX"),
        ("VERDADERO", "FALSO"),
        ("VERO", "Falso"),
        ("VERDADEIRO", "FALSO"),
        ("WAAR", "ONWAAR"),
        ("PRAWDA", "FAŁSZ"),
        ("SANT", "FALSKT"),
        ("SAND", "FALSK"),
        ("SANN", "USANN"),
        ("TOSI", "EPÄTOSI"),
        ("TOSI", "EPA\u0308TOSI"),
        ("PRAVDA", "NEPRAVDA"),
        ("IGAZ", "HAMIS"),
        ("DOĞRU", "YANLIŞ"),
        ("doğru", "yanlış"),
        ("ИСТИНА", "ЛОЖЬ"),
        ("ІСТИНА", "ХИБНІСТЬ"),
        ("ΑΛΗΘΗΣ", "ΨΕΥΔΗΣ"),
        ("ADEVĂRAT", "FALS"),
        ("TRUE", "FALSE"),
        ("1", "0"),
        ("yes", "no"),
        ("Ja", "nein"),
        ("oui", "non"),
        ("t", "f"),
    ],
)
def test_yes_and_no_are_understood_as_spreadsheets_write_them(yes: str, no: str) -> None:
    text = f"alias;enabled\na@example.com;{yes}\nb@example.com; {no} \nc@example.com;{no.swapcase()}\n"

    rows = read(text, SIMPLELOGIN).rows

    assert [(row.enabled, row.problem) for row in rows] == [(True, ""), (False, ""), (False, "")]


@pytest.mark.parametrize("mark", ["sep=;\n", "SEP=;\r\n", '"sep=;"\r\n', "sep=;;;\n", "\ufeffsep=;\n"])
def test_excels_word_about_its_separator_is_understood(mark: str) -> None:
    text = decode((mark + "alias;note\nx@example.com;a,b\nbroken@example.com;x;y\n").encode())

    assert format_of(text) == SIMPLELOGIN
    one, wrong = read(text, SIMPLELOGIN).rows
    assert (one.line, one.address, one.note) == (3, "x@example.com", "a,b")
    assert (wrong.line, wrong.problem) == (4, "The line has more cells than there are columns.")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("is_said", [True, False])
def test_each_separator_and_each_line_end_is_read(delimiter: str, end: str, is_said: bool) -> None:
    lines = ["alias,note,enabled".replace(",", delimiter), f"x@example.com{delimiter}n{delimiter}0", ""]
    text = (f"sep={delimiter}{end}" if is_said else "") + end.join(lines)

    (row,) = read(text, SIMPLELOGIN).rows

    assert (row.address, row.note, row.enabled, row.problem) == ("x@example.com", "n", False, "")


def test_only_a_column_that_is_read_must_be_there_once() -> None:
    assert read("alias,tag,tag\nx@example.com,1,2\n", SIMPLELOGIN).rows[0].address == "x@example.com"
    with pytest.raises(ImportFileError, match="Two columns are called “note”"):
        read("alias,note,Note\nx@example.com,1,2\n", SIMPLELOGIN)
