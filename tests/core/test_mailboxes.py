"""Reading mailboxes as mail programs show them, and writing them so that all read the same."""

import re
import time
from email import message_from_bytes, policy
from email.headerregistry import AddressHeader
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.mailboxes import NAME_MAX, Mailbox, mailboxes, plain_name, written

# The text of a field, and who is in it.
FIELDS: list[tuple[str, list[tuple[str, str]]]] = [
    ("bob@x.test", [("", "bob@x.test")]),
    ("<bob@x.test>", [("", "bob@x.test")]),
    ("Bob B. Bobson <bob@x.test>", [("Bob B. Bobson", "bob@x.test")]),
    ('"Bobson, Bob" <bob@x.test>, eve@x.test', [("Bobson, Bob", "bob@x.test"), ("", "eve@x.test")]),
    (r'"a \"quoted\" \\ name" <bob@x.test>', [(r'a "quoted" \ name', "bob@x.test")]),
    ("bob@x.test (Bob (the) Bobson)", [("Bob (the) Bobson", "bob@x.test")]),
    ('bob@x.test (it"s ok), eve@x.test', [('it"s ok', "bob@x.test"), ("", "eve@x.test")]),
    ("Bob (x) <bob@x.test>", [("Bob", "bob@x.test")]),
    ("=?utf-8?q?Zo=C3=AB?= <z@x.test>", [("Zoë", "z@x.test")]),
    ('"=?utf-8?q?Zo=C3=AB?=" <z@x.test>', [("Zoë", "z@x.test")]),
    ("=?utf-8?b?Wm8=?= =?utf-8?q?=C3=AB?= x <z@x.test>", [("Zoë x", "z@x.test")]),
    ("=?utf-8?q?Zo=C3?= =?utf-8?q?=AB?= <z@x.test>", [("Zoë", "z@x.test")]),
    ("=?iso-8859-1?q?Zo=EB?= <z@x.test>", [("Zoë", "z@x.test")]),
    ("=?utf-8*de?q?Zo=C3=AB?= <z@x.test>", [("=?utf-8*de?q?Zo=C3=AB?=", "z@x.test")]),
    ("=?no-such?q?Zo=EB?= <z@x.test>", [("=?no-such?q?Zo=EB?=", "z@x.test")]),
    ("=?utf-8?b?A?= <z@x.test>", [("=?utf-8?b?A?=", "z@x.test")]),
    ("ünïcode =?utf-8?q?Zo=C3=AB?= <z@x.test>", [("ünïcode Zoë", "z@x.test")]),
    ("Zoë <zoë@bücher.test>", [("Zoë", "zoë@bücher.test")]),
    ("Friends: bob@x.test, Eve <eve@x.test>;", [("", "bob@x.test"), ("Eve", "eve@x.test")]),
    ("A: a@x.test;, B: b@x.test;", [("", "a@x.test"), ("", "b@x.test")]),
    ("undisclosed-recipients:;", []),
    (", ,bob@x.test,,", [("", "bob@x.test")]),
    ("bob@x.test; eve@x.test", [("", "bob@x.test"), ("", "eve@x.test")]),
    ("Bob [sales] <bob@x.test>, eve@x.test", [("Bob [sales]", "bob@x.test"), ("", "eve@x.test")]),
    ("<@a.test,@b.test:bob@x.test>", [("", "bob@x.test")]),
    ("bob @ x . test", [("", "bob@x.test")]),
    ("Bob <bob (c) @x.test>", [("Bob", "bob@x.test")]),
    ("bob@[IPv6:2001:db8::1]", [("", "bob@[IPv6:2001:db8::1]")]),
    ('"odd, name"@x.test', [("", '"odd, name"@x.test')]),
    ("a@x.test b@x.test, c@x.test", [("", ""), ("", "c@x.test")]),
    ("<a@x.test> <b@x.test>, c@x.test", [("", ""), ("", "c@x.test")]),
    ("a@b@c, Bob <bob>", [("", ""), ("Bob", "")]),
    ("bob@x.test, eve@x.test (no end", [("", "bob@x.test")]),
    ('bob@x.test, "eve@x.test', [("", "bob@x.test")]),
    ('\0@a.test, b\x07b@x.test, "a\0b"@x.test, c@[a\x7fb]', [("", "")] * 4),
    ("", []),
]


@pytest.mark.parametrize(("text", "expected"), FIELDS)
def test_who_is_in_a_field(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(mailboxes(text)) == expected


HOSTILE = ["(", '"', "\\", "[", "<", ":", ",", "=?", "=?utf-8?q?", "((((\\", '"\\', "a@", "[a", "<[", ' "a']


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_text_takes_a_time_that_grows_with_its_square(piece: str) -> None:
    def seconds(times: int) -> float:
        began = time.process_time()
        list(mailboxes(piece * times))
        return time.process_time() - began

    # Sixteen times the text: 256 times the time if it were the square.
    assert min(seconds(64_000) for _ in range(2)) < 0.02 + 60 * min(seconds(4_000) for _ in range(3))


NAMES = [
    ("Bob", "Bob"),
    ("evil@bank.test", "evil at bank.test"),
    ("Bob @ Work", "Bob at Work"),
    ("evil\uff20bank.test \ufe6b", "evil at bank.test at"),  # noqa: RUF001
    ("a\r\n\tBcc: x", "a Bcc: x"),
    ("turned \u202egnp.exe\u202c", "turned gnp.exe"),
    ("zero\u200bwidth\0\x07", "zerowidth"),
    ("  many   spaces ", "many spaces"),
    ("x" * 500, "x" * NAME_MAX),
    ("👩‍🚀 Zoë", "👩🚀 Zoë"),
    ("", ""),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_a_plain_name_shows_nothing_but_itself(name: str, expected: str) -> None:
    assert plain_name(name) == expected


def read_strictly(field: str) -> list[tuple[str, str]]:
    """The mailboxes as Python's own parser of RFC 5322 and RFC 2047 reads them; without the names' spaces, of
    which it adds some between encoded words."""
    message = message_from_bytes(f"To: {field}\r\n\r\n".encode("ascii"), policy=policy.default)
    header: Any = message["To"]
    assert isinstance(header, AddressHeader)
    assert header.defects == ()
    return [(address.display_name.replace(" ", ""), address.addr_spec) for address in header.addresses]


@given(st.text())
def test_what_is_written_is_read_as_it_was_meant(text: str) -> None:
    name = plain_name(text)

    field = written(Mailbox(name, "r.abc@example.com"))

    assert field.isascii()
    assert all(len(line) <= 78 for line in field.split("\r\n")) or name.isascii()
    assert re.sub(r"\r\n[ \t]", "", field).isprintable()
    assert field.count("@") == 1
    assert read_strictly(field) == [(name.replace(" ", ""), "r.abc@example.com")]
    assert list(mailboxes(field.replace("\r\n", ""))) == [(name, "r.abc@example.com")]


@given(st.lists(st.sampled_from(["=?utf-8?q?x=40bank?=", "=?", "?=", " ", "a", '"', "\\", "ü", "\\u0040"])))
def test_what_looks_encoded_is_not_decoded_a_second_time(pieces: list[str]) -> None:
    name = plain_name("".join(pieces))

    field = written(Mailbox(name, "r.abc@example.com"))

    assert list(mailboxes(field.replace("\r\n", ""))) == [(name, "r.abc@example.com")]
    assert read_strictly(field) == [(name.replace(" ", ""), "r.abc@example.com")]


@given(st.text(alphabet='ab@.<>()[],;:"\\ \r\n\t=?ü\0', max_size=80))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for _name, address in mailboxes(text):
        assert not re.search(r"[\r\n\0]", address)
        assert not re.search(r"[<>]", address) or address.startswith('"')


def test_white_space_in_an_address_does_not_take_a_time_that_grows_with_its_square() -> None:
    began = time.process_time()

    assert [each.address for each in mailboxes(f"a{' ' * 100_000}b@c.test, d{' ' * 100_000}@e.test")] == [
        "",
        "d@e.test",
    ]

    assert time.process_time() - began < 1
