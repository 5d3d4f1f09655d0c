"""Our signatures of what we write ourselves, forwards with reverse addresses and replies, as verifiers read
them that are not ours: over all of Python's own e-mail test data."""

import re
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from core.mailboxes import Mailbox
from domains.models import DkimKey, Domain
from mail.delivery.cleaning import Draft, Unsendable, Writer, cleaned
from mail.delivery.dkim import sign_with
from mail.delivery.hiding import Incoming
from mail.delivery.message import Octets, trace_fields, written
from mail.delivery.smtp_client import stuffed
from tests.rig.dkim_keys import published_keys
from tests.rig.dkim_verifiers import as_received, corpus, verified_by_dkimpy, verified_by_opendkim

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite]

ALIAS = "shop.alpha@example.com"
# Somebody whose address is in the text of some of the messages.
WRITER = Writer(
    alias=ALIAS,
    name="Zoë at the shop",
    own=frozenset({"barry@python.org"}),
    correspondents={},
    allows_others=True,
    allows_revealing=True,
    cleans_text=True,
)


@pytest.fixture
def keys(example_com: Domain) -> list[DkimKey]:
    return published_keys(example_com)


def forwarded(content: bytes) -> tuple[bytes, Octets]:
    """Header and body of the message with a reverse address for everybody in it, below our fields."""
    incoming = Incoming(content, "eve@sender.test", ALIAS)
    shown = {
        address: Mailbox(name or "", f"r.{number}@example.com")
        for number, (address, name) in enumerate(incoming.correspondents, 1)
    }
    top = written(trace_fields(ALIAS, 1, "192.0.2.1", "ESMTP", None))
    return top + incoming.rewritten(shown), incoming.body


def replied(content: bytes) -> tuple[bytes, Octets]:
    """The same of a message as correspondents see it, of its fields with one name the first. Raises
    Unsendable."""
    header, empty_line, body = content.partition(b"\r\n\r\n")
    fields: dict[bytes, bytes] = {}
    for field in re.split(rb"\r\n(?![ \t])", header):
        fields.setdefault(field.partition(b":")[0].strip().lower(), field)
    content = b"\r\n".join(fields.values()) + empty_line + body
    return cleaned(Draft(content), WRITER, "<1@laptop.home.test>", lambda _message_id: True)


Write = Callable[[bytes], tuple[bytes, Octets]]


def signed_one(keys: list[DkimKey], write: Write, content: bytes) -> bytes:
    header, body = write(content)
    return sign_with(keys, "example.com", header, body) + header + body


def signed(keys: list[DkimKey], write: Write) -> dict[str, bytes]:
    made = {}
    for name, content in corpus().items():
        with suppress(Unsendable):
            made[name] = as_received(signed_one(keys, write, content))
    return made


@pytest.mark.parametrize(("write", "least"), [(forwarded, 240), (replied, 200)])
def test_dkimpy_verifies_every_signature(keys: list[DkimKey], write: Write, least: int) -> None:
    found = signed(keys, write)

    # dkimpy refuses a name with white space before its colon, which a forward keeps.
    readable = {name: each for name, each in found.items() if write is replied or ", odd" not in name}
    wrong = [name for name, each in readable.items() if verified_by_dkimpy(each, keys) != [True, True]]

    assert len(readable) >= least
    assert wrong == []


@pytest.mark.parametrize(("write", "least"), [(forwarded, 250), (replied, 200)])
def test_opendkim_verifies_every_signature(
    keys: list[DkimKey], tmp_path: Path, write: Write, least: int
) -> None:
    found = verified_by_opendkim(tmp_path, signed(keys, write), keys)

    assert len(found) >= least
    assert {name: good for name, good in found.items() if good != ["rsa", "ed25519"]} == {}


def test_what_is_rewritten_is_what_is_signed(keys: list[DkimKey]) -> None:
    """Another name, address or octet breaks it."""
    content = "From: Eve <eve@sender.test>\r\nTo: x@y.test\r\n\r\nGrüße\r\n".encode()
    for write in (forwarded, replied):
        whole = signed_one(keys, write, content)
        assert verified_by_dkimpy(whole, keys) == [True, True]

        for old, new in ((b"\nFrom: ", b"\nFrom: x"), (b"\nTo: ", b"\nTo: z@z.test, ")):
            assert verified_by_dkimpy(whole.replace(old, new), keys) == [False, False]


def _cleaned(content: bytes) -> tuple[bytes, Octets]:
    writer = replace(WRITER, cleans_text=False)
    return cleaned(Draft(content), writer, "<1@laptop.home.test>", lambda _message_id: True)


@pytest.mark.parametrize("write", [forwarded, _cleaned])
def test_a_large_body_is_not_copied_to_be_signed_and_sent(keys: list[DkimKey], write: Write) -> None:
    content = b"From: Eve <eve@sender.test>\r\nTo: x@y.test\r\n\r\n" + (b"x" * 76 + b"\r\n") * 200_000

    tracemalloc.start()
    try:
        header, body = write(content)
        assert sign_with(keys, "example.com", header, body)
        sent = sum(map(len, stuffed(body, header)))
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sent > len(content)
    assert most < len(content) / 2
