"""How correspondents are shown beside their reverse addresses."""

from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliases.models import SenderFormat
from contacts.showing import reverse_alias, shown_name

JOHN = ("John Wick", "john@wick.example")


@pytest.mark.parametrize(
    ("sender_format", "shown"),
    [
        ("AT", "John Wick - john at wick.example"),
        ("A", "John Wick - john(a)wick.example"),
        ("NAME_ONLY", "John Wick"),
        ("AT_ONLY", "john at wick.example"),
        ("NO_NAME", ""),
    ],
)
def test_simplelogins_five_ways(sender_format: str, shown: str) -> None:
    assert shown_name(sender_format, *JOHN) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", "john at wick.example"),
        # A name that only repeats the address.
        ("john@wick.example", "john at wick.example"),
        ("bank@bank.test", "bank at bank.test - john at wick.example"),
    ],
)
def test_names_that_are_missing_or_look_like_addresses(name: str, shown: str) -> None:
    assert shown_name("AT", name, JOHN[1]) == shown


def test_every_way_of_a_preference_is_known() -> None:
    assert len({shown_name(each, *JOHN) for each in SenderFormat.values}) == len(SenderFormat) == 5


@given(st.sampled_from(SenderFormat.values), st.text(), st.text())
def test_no_name_looks_like_an_address(sender_format: str, name: str, local_part: str) -> None:
    shown = shown_name(sender_format, name, f"{local_part}@wick.example")

    assert not {"@", "\uff20", "\ufe6b", "\n", "\r", "\0"} & set(shown)


REVERSE = "r.mfrggzdfmztwq2lknnwg23tpob@example.com"


@pytest.mark.parametrize(
    ("sender_format", "name", "shown"),
    [
        ("AT", "John Wick", "John Wick | john at wick.example"),
        ("A", "John Wick", "John Wick | john(a)wick.example"),
        ("NAME_ONLY", "John Wick", "John Wick | john at wick.example"),
        ("NO_NAME", "", "john at wick.example"),
        ("AT", '"\\\n', "john at wick.example"),
        ("AT", "bank@bank.test", "bank at bank.test | john at wick.example"),
    ],
)
def test_a_reverse_alias_shows_the_whole_correspondent(sender_format: str, name: str, shown: str) -> None:
    assert reverse_alias(sender_format, name, JOHN[1], REVERSE) == f'"{shown}" <{REVERSE}>'


@given(st.sampled_from(SenderFormat.values), st.text())
def test_a_reverse_alias_is_one_mailbox_whatever_the_name(sender_format: str, name: str) -> None:
    written = reverse_alias(sender_format, name, '"a b"@wick.example', REVERSE)

    assert [address for _name, address in getaddresses([written])] == [REVERSE]
    assert written.count("@") == 1
