"""Our DKIM signatures, as verifiers read them that are not ours: dkimpy, and Debian's OpenDKIM."""

import re
from pathlib import Path

import dkim
import pytest
from django.utils import timezone
from dkim.canonicalization import Relaxed
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from domains.dkim_keys import make_keys
from domains.models import DkimKey, Domain
from domains.models.dkim_key import signing_keys
from mail.delivery.dkim import OVERSIGNED, relaxed_body, sign
from tests.rig.dkim_keys import published_keys
from tests.rig.dkim_verifiers import as_received, corpus, verified_by_dkimpy, verified_by_opendkim

pytestmark = pytest.mark.django_db

PLAIN = b"From: a.b@example.com\r\nTo: you@sender.test\r\nSubject: Hello\r\n\r\nText\r\n"


@pytest.fixture
def keys(example_com: Domain) -> list[DkimKey]:
    return published_keys(example_com)


# Python's messages that a verifier does not read: lines that are no fields in the header, and what it takes
# for an invalid From.
UNREADABLE = {"dkimpy": ("msg_19,", "msg_35,"), "OpenDKIM": ("msg_19,", "msg_35,", "msg_05,", "msg_43,")}


def signed_corpus(verifier: str) -> dict[str, bytes]:
    return {
        name: as_received(sign("example.com", content) + content)
        for name, content in corpus().items()
        if not name.startswith(UNREADABLE[verifier])
    }


@pytest.mark.sqlite
def test_dkimpy_verifies_every_signature_of_pythons_messages(keys: list[DkimKey]) -> None:
    # It refuses a name with white space before its colon.
    signed = {name: message for name, message in signed_corpus("dkimpy").items() if "odd" not in name}

    wrong = [name for name, message in signed.items() if verified_by_dkimpy(message, keys) != [True, True]]

    assert len(signed) >= 200
    assert wrong == []


@pytest.mark.sqlite
def test_opendkim_verifies_every_signature_of_pythons_messages(keys: list[DkimKey], tmp_path: Path) -> None:
    signed = signed_corpus("OpenDKIM")

    found = verified_by_opendkim(tmp_path, signed, keys)

    assert len(signed) >= 250
    assert {name: good for name, good in found.items() if good != ["rsa", "ed25519"]} == {}


@pytest.mark.parametrize("name", OVERSIGNED)
def test_a_field_that_somebody_adds_breaks_the_signature(keys: list[DkimKey], name: str) -> None:
    signed = sign("example.com", PLAIN) + PLAIN
    assert verified_by_dkimpy(signed, keys) == [True, True]

    forged = f"{name.title()}: evil@evil.test\r\n".encode() + signed

    assert verified_by_dkimpy(forged, keys) == [False, False]


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"Text", b"Test"), (b"Hello", b"Hallo"), (b"you@", b"me@"), (b"a.b@", b"c.d@")],
)
def test_what_somebody_changes_breaks_the_signature(keys: list[DkimKey], before: bytes, after: bytes) -> None:
    signed = sign("example.com", PLAIN) + PLAIN.replace(before, after)

    for number in range(2):
        try:
            is_good = dkim.DKIM(signed).verify(
                idx=number,
                dnsfunc=lambda name, timeout: keys[number].record_text.encode(),  # noqa: B023
            )
        except dkim.ValidationError:
            is_good = False  # dkimpy's word for another body
        assert not is_good


def test_the_field_is_folded_and_says_what_it_does(keys: list[DkimKey]) -> None:
    for field, key in zip(
        re.findall(rb"DKIM-Signature:(?:.*\r\n)(?:\t.*\r\n)*", sign("example.com", PLAIN)), keys, strict=True
    ):
        text = field.decode("ascii")
        assert all(len(line) <= 78 for line in text.split("\r\n"))
        tags = dict(tag.strip().split("=", 1) for tag in text.partition(":")[2].split(";"))
        assert tags["a"] == f"{key.algorithm}-sha256"
        assert (tags["d"], tags["s"], tags["c"]) == ("example.com", key.selector, "relaxed/relaxed")
        signed = re.sub(r"\s", "", tags["h"]).split(":")
        assert sorted(signed) == sorted(["from", "from", "to", "to", "subject", "subject", "cc", "reply-to"])
        assert not {"l", "x", "i"} & tags.keys()


def test_only_a_key_whose_record_was_found_signs(example_com: Domain, keys: list[DkimKey]) -> None:
    (newer, _other) = make_keys(example_com)
    assert signing_keys("example.com") == keys

    DkimKey.objects.filter(pk=newer.pk).update(published=timezone.now())

    assert set(signing_keys("example.com")) == {newer, keys[1]}
    DkimKey.objects.update(published=None)
    assert sign("example.com", PLAIN) == b""


def test_nothing_is_signed_for_another_domain_or_without_a_from_or_if_it_is_off(
    keys: list[DkimKey], other_org: Domain, settings: Settings
) -> None:
    assert sign("example.com", PLAIN) != b""

    assert sign("other.org", PLAIN) == b""
    assert sign("sub.example.com", PLAIN) == b""
    assert sign("example.com", PLAIN.replace(b"From", b"Form")) == b""
    assert sign("example.com", b"\r\n" + PLAIN) == b""
    assert sign("example.com", b"") == b""
    settings.MAIL_DKIM = "off"
    assert sign("example.com", PLAIN) == b""


def test_under_another_secret_key_nothing_is_signed_and_the_log_says_why(
    keys: list[DkimKey], settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SECRET_KEY = "another-" + "x" * 60

    assert sign("example.com", PLAIN) == b""
    assert [record.getMessage() for record in caplog.records] == [
        f"DKIM key {key.pk} was created under another SECRET_KEY" for key in keys
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # RFC 6376 §3.4.5
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
        (b"", b""),
        (b"\r\n", b""),
        (b" \t\r\n\r\n", b""),
        (b"x", b"x\r\n"),
        (b"x \t", b"x\r\n"),
        (b"a\nb\r\n", b"a\nb\r\n"),
    ],
)
def test_a_body_in_relaxed_form(body: bytes, expected: bytes) -> None:
    assert b"".join(relaxed_body(body)) == expected


@given(
    st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"\xe4"])).map(b"".join),
    st.integers(0, 8),
)
def test_a_body_in_relaxed_form_is_what_dkimpy_makes_of_it(body: bytes, size: int) -> None:
    made = b"".join(relaxed_body(memoryview(body), size))

    assert made == Relaxed.canonicalize_body(as_received(body) if body else body)


def test_a_mebibyte_of_white_space_takes_no_longer_than_other_text(keys: list[DkimKey]) -> None:
    """A pattern that looks for a line's end behind white space would take hours."""
    sign("example.com", PLAIN + b" \t" * (512 * 1024))
