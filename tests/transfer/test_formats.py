"""Other services' files, read into rows. Their samples are written as those services write them."""

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.spreadsheets import harmless, without_guard
from transfer import rows as import_rows
from transfer.formats import mailu as import_mailu_file
from transfer.formats.reading import (
    ADDY,
    ANONMAIL,
    FILE_MAX_BYTES,
    MAILU,
    SIMPLELOGIN,
    decode,
    format_of,
    read,
)
from transfer.rows import ROWS_MAX, ImportFileError, printable, yes_or_no

SIMPLELOGIN_CSV = """alias,note,enabled,mailboxes
shop.one@example.com,"Shoes, order ""4711""
second line",True,alice@example.com alice@home.test
off@example.com,,False,alice@example.com
bare@example.com,,True,
"""

# The columns of its table, as its export has them.
ADDY_CSV = (
    "id,user_id,aliasable_id,aliasable_type,local_part,extension,domain,email,active,description,from_name,"
    "emails_forwarded,emails_blocked,emails_replied,emails_sent,created_at,updated_at,deleted_at\r\n"
    "50c9e585-e7f5-41c4-9016-9014c15454bc,u,,,shop,ext,example.com,shop@example.com,1,Shoes,Alice A,3,0,0,0,"
    "2024-01-02 03:04:05,2024-01-02 03:04:05,\r\n"
    "60c9e585-e7f5-41c4-9016-9014c15454bc,u,,,off,,example.com,off@example.com,,,,0,0,0,0,"
    "2024-01-02 03:04:05,2024-01-02 03:04:05,\r\n"
    "70c9e585-e7f5-41c4-9016-9014c15454bc,u,,,gone,,example.com,gone@example.com,,,,0,0,0,0,"
    "2024-01-02 03:04:05,2024-01-02 03:04:05,2024-02-02 03:04:05\r\n"
)

MAILU_YAML = """
domain:
  - name: example.com
    anonmail_enabled: true
    comment: 'ours'

  - name: other.org
    dkim_key: |
      -----BEGIN PRIVATE KEY-----
      <hidden>

user:
  - email: alice@example.com
    displayed_name: Alice
    password: <hidden>

  - email: old@example.com
    enabled: false
    password: <hidden>

alias:
  - email: github.word@example.com
    destination:
      - alice@example.com
    owner_email: alice@example.com
    hostname: github.com
    note: 'Website: github.com'
    disabled: true

  - email: sales.team@example.com
    comment: one person's
    destination: [alice@example.com]

  - email: everybody@example.com
    destination:
      - alice@example.com
      - old@example.com

  - email: away@example.com
    destination: [somebody@elsewhere.test]

  - email: Postmaster@example.com
    destination: [alice@example.com]

  - email: 'sales-%@example.com'
    wildcard: true
    destination: [alice@example.com]
"""


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


@pytest.mark.parametrize(
    ("format", "column"), [(SIMPLELOGIN, "alias"), (ADDY, "email"), (ANONMAIL, "address")]
)
def test_a_line_that_ends_before_its_address_is_a_row_without_one(format: str, column: str) -> None:
    short, whole = read(f"note,{column}\nhello\nhello,x@example.com\n", format).rows

    assert (short.line, short.address) == (2, "")
    assert whole.address == "x@example.com"


def test_addys_export_is_read() -> None:
    shop, off, gone = read(ADDY_CSV, ADDY).rows

    assert (shop.line, shop.address, shop.enabled) == (2, "shop@example.com", True)
    assert (shop.note, shop.name, shop.destinations) == ("Shoes", "Alice A", ())
    assert (off.enabled, off.deleted) == (False, False)
    assert gone.deleted


@pytest.mark.parametrize(
    ("text", "address", "destinations"),
    [
        ("local_part,domain\nx,example.com\n", "x@example.com", ()),
        (
            "alias,description,recipient_ids\nx@example.com,a,5d1f7a8e-0000-4000-8000-000000000000\n",
            "x@example.com",
            (),
        ),
        (
            'email,active,recipients\nx@example.com,TRUE,"a@home.test,b@home.test"\n',
            "x@example.com",
            ("a@home.test", "b@home.test"),
        ),
    ],
)
def test_addys_columns_are_found_by_their_names(text: str, address: str, destinations: tuple[str]) -> None:
    assert format_of(text) == ADDY
    (row,) = read(text, ADDY).rows

    assert (row.address, row.destinations, row.problem) == (address, destinations, "")


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


def test_no_word_means_both_yes_and_no() -> None:
    assert not import_rows._TRUE & import_rows._FALSE
    assert all(word == word.casefold() for word in import_rows._TRUE | import_rows._FALSE)


@given(st.text(max_size=8))
def test_any_other_word_is_neither(word: str) -> None:
    assert yes_or_no(word) in {True, False, None}
    assert yes_or_no(f"{word}?!") is None


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


MAILU_ALTERNATIVES = """
domain:
  - name: example.com
    alternatives:
      - example.net
      - name: BÜCHER.example
user:
  - email: alice@example.com
  - email: odd+one@example.com
alias:
  - email: tagged@example.com
    destination: [Alice+shop@Example.com]
  - email: other@example.com
    destination: [alice@example.net]
  - email: both@example.com
    destination: [alice+x@xn--bcher-kva.example]
  - email: exact@example.com
    destination: [odd+one@example.com]
  - email: owned@example.com
    destination: [alice@example.net, alice@example.com]
    owner_email: alice@example.net
  - email: away@example.com
    destination: [alice@elsewhere.test]
"""


def test_a_tag_and_another_name_of_the_domain_lead_to_the_same_mailbox() -> None:
    document = read(MAILU_ALTERNATIVES, MAILU)

    alice = "alice@example.com"
    assert {row.address: (row.owner, row.destinations) for row in document.rows} == {
        "tagged@example.com": (alice, (alice,)),
        "other@example.com": (alice, (alice,)),
        "both@example.com": (alice, (alice,)),
        "exact@example.com": ("odd+one@example.com", ("odd+one@example.com",)),
        "owned@example.com": (alice, (alice,)),
    }
    assert [(row.address, row.reason) for row in document.left_out] == [
        ("away@example.com", "Its destination is not a user of that server.")
    ]


def test_a_file_without_its_people_goes_by_its_domains() -> None:
    text = re.sub(r"(?s)user:.*?alias:", "alias:", MAILU_ALTERNATIVES)
    owners = {row.address: row.owner for row in read(text, MAILU).rows}

    assert owners["tagged@example.com"] == owners["other@example.com"] == "alice@example.com"
    assert owners["away@example.com"] == "alice@elsewhere.test"


@pytest.mark.parametrize(
    ("alias", "reason"),
    [
        (
            {"email": "alice@example.com", "destination": ["alice@example.com"]},
            "It is somebody's mailbox on that server, and no alias.",
        ),
        (
            {"email": "ALICE@example.com", "destination": ["x@example.com"], "owner_email": "x@example.com"},
            "It is somebody's mailbox on that server, and no alias.",
        ),
        (
            {"email": "loop@example.com", "destination": ["Loop@example.com", "alice@example.com"]},
            "It forwards to itself.",
        ),
    ],
)
def test_an_alias_of_a_mailbox_to_itself_is_left_out(alias: dict[str, object], reason: str) -> None:
    document = {"user": [{"email": "alice@example.com"}, {"email": "x@example.com"}], "alias": [alias]}

    read_document = read(json.dumps(document), MAILU)

    assert read_document.rows == []
    assert [row.reason for row in read_document.left_out] == [reason]


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert format_of(decode(b"\xef\xbb\xbfalias\nx@example.com\n")) == SIMPLELOGIN


@pytest.mark.parametrize(
    "text", ["", "plain", "=1+1", "+49", "-", "@x", "\tx", "\rx", "'", "'=1", "''=1", "'quoted'", "a=1"]
)
def test_what_keeps_spreadsheets_quiet_comes_off_again(text: str) -> None:
    assert without_guard(harmless(text)) == text
    assert harmless(text)[:1] not in {"=", "+", "-", "@", "\t", "\r"}


def test_mailus_export_is_read() -> None:
    document = read(MAILU_YAML, MAILU)

    anonymous, standard = document.rows
    assert (anonymous.address, anonymous.owner) == ("github.word@example.com", "alice@example.com")
    assert (anonymous.hostname, anonymous.enabled) == ("github.com", False)
    assert anonymous.note == "Website: github.com"
    assert (standard.address, standard.owner) == ("sales.team@example.com", "alice@example.com")
    assert (standard.note, standard.enabled) == ("one person's", True)
    assert MAILU_YAML.splitlines()[anonymous.line - 1].strip() == "- email: github.word@example.com"
    assert [(row.name, row.anonmail_enabled) for row in document.domains] == [
        ("example.com", True),
        ("other.org", False),
    ]
    assert [(row.email, row.name, row.enabled) for row in document.users] == [
        ("alice@example.com", "Alice", True),
        ("old@example.com", "", False),
    ]


def test_what_is_no_alias_of_one_person_is_left_out_with_the_reason() -> None:
    left_out = {row.address: row.reason for row in read(MAILU_YAML, MAILU).left_out}

    assert left_out == {
        "everybody@example.com": "It belongs to nobody: it has no owner, and not one destination alone.",
        "away@example.com": "Its destination is not a user of that server.",
        "Postmaster@example.com": "This name is reserved: it stays with the mail server.",
        "sales-%@example.com": "A pattern is no address.",
    }


def test_mailus_json_says_the_same_as_its_yaml() -> None:
    alias = {
        "email": "a.b@example.com",
        "destination": "alice@example.com",
        "owner_email": "alice@example.com",
        "comment": "☃",
    }
    document = read(json.dumps({"alias": [alias, {**alias, "email": "c.d@example.com"}]}), MAILU)

    assert [(row.line, row.address, row.note, row.destinations) for row in document.rows] == [
        (1, "a.b@example.com", "☃", ("alice@example.com",)),
        (2, "c.d@example.com", "☃", ("alice@example.com",)),
    ]
    assert document.is_json


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (LAUGHS, "Line 1 refers to another part"),
        ("alias: [*nowhere]\n", "Line 1 refers to another part"),
        ("alias: &x\n  - email: a\n", "Line 1 refers to another part"),
        ("alias: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("alias: " + "{a: " * 500 + "}" * 500, "nested too deeply"),
        ('{"alias": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested too deeply"),
        ("alias: [a, b]\n", "no list of entries"),
        ("alias: text\n", "no list of entries"),
        ("- alias\n", "no file of Mailu"),
        ("just text", "no file of Mailu"),
        ("", "no file of Mailu"),
        ("alias: []\n---\nalias: []\n", "no file of Mailu"),
        ("alias: 'open\n", "no YAML"),
        ("alias:\n\t- x\n", "no YAML"),
        ("? [a, b]\n: c\nalias: []\n", "no YAML"),
        ("alias: \x07\n", "no YAML"),
        # libyaml compares each of these with all before it: ten megabytes of them take half an hour.
        ("%TAG !a! x\n%TAG !b! x\n---\nalias: []\n", "no YAML that Mailu writes"),
        ('{"alias": [}', "no JSON"),
        ('{"alias": 5}', "no list of entries"),
        ('{"other": []}', "no file of Mailu"),
    ],
)
def test_hostile_documents_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ImportFileError, match=sentence):
        read(text, MAILU)


def test_tags_of_yaml_make_nothing() -> None:
    text = (
        "alias:\n  - email: !!python/object/apply:os.system ['echo']\n"
        "  - email: !!int '5'\n    owner_email: x\n"
    )

    rows = read(text, MAILU).left_out + read(text, MAILU).rows

    assert sorted(row.address for row in rows) == ["", "5"]


def test_a_document_of_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_mailu_file, "VALUES_MAX", 30)

    with pytest.raises(ImportFileError, match="too many values"):
        read(MAILU_YAML, MAILU)


@pytest.mark.parametrize("value", ["{}", "[]", "0", '""', '{"":0}'])
def test_a_json_document_of_too_many_values_is_refused_before_one_is_made(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 MB of `{}` took 1.6 GB."""
    monkeypatch.setattr(import_mailu_file, "VALUES_MAX", 30)
    monkeypatch.setattr(json, "loads", lambda *args, **named: pytest.fail("it was parsed"))

    with pytest.raises(ImportFileError, match="too many values"):
        read(f'{{"alias": [{",".join([value] * 31)}]}}', MAILU)


def test_commas_and_brackets_inside_a_text_are_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_mailu_file, "VALUES_MAX", 30)
    note = '{[,"\\' * 100
    alias = {"email": "a.b@example.com", "owner_email": "alice@example.com", "note": note}

    (row,) = read(json.dumps({"alias": [alias]}), MAILU).rows

    assert row.note == note


@pytest.mark.parametrize("text", ['{"' + '\\"' * 500_000, '{"' + '\\"' * 500_000 + "\\", '{"' * 500_000])
def test_texts_without_an_end_are_read_once(text: str) -> None:
    started = time.process_time()

    with pytest.raises(ImportFileError):
        read(text, MAILU)

    # each character once: looking at them again for each quote would take hours
    assert time.process_time() - started < 20


@pytest.mark.parametrize("section", ["domain", "user", "alias"])
def test_a_document_of_too_many_entries_is_refused(section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_rows, "ROWS_MAX", 2)
    document = {"alias": [], section: [{}, {}]}

    read(json.dumps(document), MAILU)
    document[section].append({})
    with pytest.raises(ImportFileError, match="too many rows"):
        read(json.dumps(document), MAILU)


@pytest.mark.parametrize(
    "alias",
    [
        {"email": "a@example.com", "destination": 5},
        {"email": "a@example.com", "destination": [["x"]]},
        {"email": "a@example.com", "destination": [5], "owner_email": "alice@example.com"},
    ],
)
def test_destinations_that_are_no_addresses_make_the_row_wrong(alias: dict[str, object]) -> None:
    (row,) = read(json.dumps({"alias": [alias]}), MAILU).rows

    assert row.problem == "The destinations are not a list of addresses."


def test_what_no_terminal_shows_is_replaced() -> None:
    assert printable("a\ud800\x1b[2J\nb") == "a��[2J�b"
