"""Mailu's config-export, read into rows."""

import json
import re
import time

import pytest

from tests.transfer.samples import MAILU_YAML
from transfer import rows as import_rows
from transfer.formats import MAILU, read
from transfer.formats import mailu as import_mailu_file
from transfer.rows import ImportFileError


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
        "everybody@example.com": "It belongs to nobody: it has no owner and not exactly one destination.",
        "away@example.com": "Its destination is not a user of that server.",
        "Postmaster@example.com": "This name is reserved: it stays with the mail server.",
        "sales-%@example.com": "A pattern is not an address.",
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
            "It is a mailbox on that server, not an alias.",
        ),
        (
            {"email": "ALICE@example.com", "destination": ["x@example.com"], "owner_email": "x@example.com"},
            "It is a mailbox on that server, not an alias.",
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
        ("alias: [a, b]\n", "not a list of entries"),
        ("alias: text\n", "not a list of entries"),
        ("- alias\n", "not a file of Mailu"),
        ("just text", "not a file of Mailu"),
        ("", "not a file of Mailu"),
        ("alias: []\n---\nalias: []\n", "not a file of Mailu"),
        ("alias: 'open\n", "not (valid )?YAML"),
        ("alias:\n\t- x\n", "not (valid )?YAML"),
        ("? [a, b]\n: c\nalias: []\n", "not (valid )?YAML"),
        ("alias: \x07\n", "not (valid )?YAML"),
        # libyaml compares each of these with all before it: ten megabytes of them take half an hour.
        ("%TAG !a! x\n%TAG !b! x\n---\nalias: []\n", "not YAML as Mailu writes it"),
        ('{"alias": [}', "not valid JSON"),
        ('{"alias": 5}', "not a list of entries"),
        ('{"other": []}', "not a file of Mailu"),
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
