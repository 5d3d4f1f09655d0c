"""A message's first line, and who wrote it: what hostile octets do to what we add and to what we show."""

import re
from collections.abc import Iterator
from email import message_from_bytes, policy

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from aliases.issuing import issue
from mail.delivery.handover import Message
from mail.delivery.message import HEADER_MAX, author, header_fields, joint, trace_fields
from mail.delivery.resolve import resolve
from tests.rig.mail_doors import Hop, take

# What comes first, what is put between our fields and it, and the subject and the body that are read then.
HEADS = [
    (b"Subject: s\r\n\r\nb\r\n", b"", "s", "b"),
    (b"X-Odd : o\r\nSubject: s\r\n\r\nb\r\n", b"", None, None),
    ("X-Ürgh: o\r\nSubject: s\r\n\r\nb\r\n".encode(), b"", None, None),
    (
        b"From eve@evil.test Thu Jan  1 00:00:00 1970\r\nSubject: s\r\n\r\nb\r\n",
        b"X-Mailbox-Line: ",
        "s",
        "b",
    ),
    (b">From eve@evil.test Thu Jan  1\r\nSubject: s\r\n\r\nb\r\n", b"X-Mailbox-Line: ", "s", "b"),
    (b"From eve\nSubject: s\n\nb\n", b"X-Mailbox-Line: ", "s", "b"),
    (b"From me to you,\r\nwith love\r\n", b"\r\n", None, "From me to you,\r\nwith love"),
    (b"From \r\n", b"X-Mailbox-Line: ", None, ""),
    (b" folded\r\nSubject: s\r\n\r\nb\r\n", b"\r\n", None, " folded\r\nSubject: s\r\n\r\nb"),
    (b"\tx\r\n", b"\r\n", None, "\tx"),
    (b" \r\nSubject: s\r\n\r\nb\r\n", b"\r\n", None, " \r\nSubject: s\r\n\r\nb"),
    (b"Hello you\r\nThere: here\r\n", b"\r\n", None, "Hello you\r\nThere: here"),
    (b": x\r\n\r\nb\r\n", b"\r\n", None, ": x\r\n\r\nb"),
    (b"\r\nSubject: s\r\n\r\nb\r\n", b"", None, "Subject: s\r\n\r\nb"),
    (b"\nSubject: s\n\nb\n", b"\r\n", None, None),
    (b"\rSubject: s\r\n\r\nb\r\n", b"\r\n", None, None),
    (b"\0\r\n", b"\r\n", None, None),
    (b"", b"", None, ""),
]


@pytest.mark.parametrize(("content", "between", "subject", "body"), HEADS)
@pytest.mark.django_db(transaction=True)
def test_our_fields_stay_fields_and_theirs_stay_theirs(
    alice: User, content: bytes, between: bytes, subject: str | None, body: str | None
) -> None:
    alias, hop = issue(owner=alice), Hop()

    take(Message("bob@sender.test", content, "x", "LMTP"), resolve(alias.address), hop)

    ((_sender, _recipient, arrived),) = hop.sent
    assert arrived.endswith(b"One-Click\r\n" + between + content)
    read = message_from_bytes(arrived, policy=policy.default)
    assert read["X-Anonmail-Alias"] == alias.address
    assert read["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    if body is not None:
        assert read["Subject"] == subject
        assert arrived.partition(b"\r\n\r\n")[2].rstrip() == body.encode() or content.startswith(
            b"From eve\n"
        )


def test_without_a_header_there_are_no_fields() -> None:
    for content, between, _subject, _body in HEADS:
        if between == b"\r\n":
            assert list(header_fields(content)) == [], content
    assert [name for name, _text in header_fields(HEADS[3][0])] == ["subject"]


def test_a_long_first_line_is_no_work() -> None:
    for octet in (b"x", b">", b" ", b"\t", b"From ", b"\xff"):
        assert joint(octet * 5_000_000) in {b"\r\n", b"X-Mailbox-Line: "}


ENVELOPE = "envelope@sender.test"
# The text of From, and whom the activity names; ENVELOPE where From names nobody plainly.
AUTHORS = [
    ("real@sender.test", "real@sender.test"),
    ("<real@sender.test>", "real@sender.test"),
    ("Bob <real@sender.test>", "real@sender.test"),
    ("x@bank.test <real@sender.test>", "real@sender.test"),
    ('"x@bank.test" <real@sender.test>', "real@sender.test"),
    ('"a, <x@bank.test>" <real@sender.test>', "real@sender.test"),
    ('"a\\" <x@bank.test>," <real@sender.test>', "real@sender.test"),
    ("<real@sender.test> x@bank.test", "real@sender.test"),
    ("(<x@bank.test>, ) real@sender.test", "real@sender.test"),
    ("real@sender.test (x@bank.test)", "real@sender.test"),
    ("(x@bank.test (nested) , \\) <y@bank.test>) Bob <real@sender.test>", "real@sender.test"),
    ("real (c) @ (c) sender . test", "real@sender.test"),
    ("=?utf-8?q?x=40bank.test?= <real@sender.test>", "real@sender.test"),
    ("=?utf-8?q?x=40bank.test_=3Cx=40bank.test=3E?= <real@sender.test>", "real@sender.test"),
    ("=?utf-8?q?x=40bank.test?=", ENVELOPE),
    ("Group: real@sender.test, x@bank.test;", "real@sender.test"),
    ("x@bank.test: real@sender.test;", "real@sender.test"),
    ("Nobody:;", ENVELOPE),
    ("real@sender.test, x@bank.test", "real@sender.test"),
    (",, real@sender.test", "real@sender.test"),
    ("<@a.test,@b.test:real@sender.test>", "real@sender.test"),
    ('"odd name"@sender.test', '"odd name"@sender.test'),
    ('<"a:b,c"@sender.test>', '"a:b,c"@sender.test'),
    ("real@[192.0.2.1]", "real@[192.0.2.1]"),
    ("<real@[IPv6:2001:db8::1]>", "real@[IPv6:2001:db8::1]"),
    ("Bjørn <bjørn@sender.test>", "bjørn@sender.test"),
    ("<x@bank.test> <real@sender.test>", ENVELOPE),
    ("x@bank.test real@sender.test", ENVELOPE),
    ("x@bank.test@sender.test", ENVELOPE),
    ("<>", ENVELOPE),
    ("Bob", ENVELOPE),
    ("", ENVELOPE),
    ("(real@sender.test", ENVELOPE),
    ('"real@sender.test', ENVELOPE),
]


@pytest.mark.parametrize(("text", "shown"), AUTHORS)
def test_the_author_is_whom_a_reader_is_shown(text: str, shown: str) -> None:
    assert author([("to", "x@y.test"), ("from", text)], ENVELOPE) == shown


def test_two_from_fields_name_nobody() -> None:
    twice = [("from", "Bank <x@bank.test>"), ("from", "real@sender.test")]

    assert author(twice, ENVELOPE) == ENVELOPE
    assert author([], ENVELOPE) == ENVELOPE


def received(client: str = "mail.sender.test ([192.0.2.1])") -> str:
    fields = trace_fields("shop@example.com", 1, client, "ESMTP", None)
    return dict(fields)["Received"]


def test_the_moment_in_our_received_field_is_that_of_each_message() -> None:
    with time_machine.travel("2026-11-27T13:59:59.900+00:00", tick=False) as traveller:
        first, again = received(), received()
        traveller.shift(0.2)
        later = received()

    assert first == again
    assert first.endswith("\r\n\tFri, 27 Nov 2026 13:59:59 +0000")
    assert later.endswith("\r\n\tFri, 27 Nov 2026 14:00:00 +0000")


def test_a_client_cannot_write_a_field_of_its_own_by_its_name() -> None:
    assert received("a\r\nBcc: x").startswith("from a??Bcc: x by ")
    assert received("").startswith("from unknown by ")
    assert received("x" * 1000).startswith(f"from {'x' * 200} by ")


def read_line_by_line(message: bytes) -> Iterator[tuple[str, str]]:
    """What `header_fields` finds, said plainly."""
    name, lines = "", []
    for line in re.split(rb"\r\n|\n|\r", message[:HEADER_MAX]):
        if line[:1] in (b" ", b"\t") and name:
            lines.append(line)
            continue
        if name:
            yield name, b"".join(lines).decode("utf-8", "replace").strip()
        name, lines = "", []
        if not line:
            return
        head, colon, rest = line.partition(b":")
        if colon and re.fullmatch(rb"[\x21-\x39\x3b-\x7e]+", head.rstrip()):
            name, lines = head.rstrip().decode("ascii").lower(), [rest]
    if name:
        yield name, b"".join(lines).decode("utf-8", "replace").strip()


@given(st.lists(st.sampled_from([b"A", b"b-1", b":", b" ", b"\t", b"\x0b", b"\r\n", b"\n", b"\r", b"\xff"])))
def test_a_header_is_read_as_its_lines_are_however_odd_they_end(pieces: list[bytes]) -> None:
    message = b"first: field\n" + b"".join(pieces)

    assert list(header_fields(message)) == list(read_line_by_line(message))
