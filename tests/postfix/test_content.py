"""Octets: what was sent arrives as it was, and what is odd about it changes nothing else."""

import base64
import re
from contextlib import closing
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from accounts.models import User
from mail.delivery.message import header_fields
from mail.models import Activity
from tests.postfix.conftest import Site
from tests.postfix.sender import ACCEPTED, EVE, MESSAGE, Sender, figures, issue, send, settled, stranger

MIME = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"


def added_to(arrived: bytes, sent: bytes) -> list[tuple[str, str]]:
    """The fields above the message, which is otherwise as it was sent."""
    assert arrived.endswith(sent)
    return list(header_fields(arrived[: len(arrived) - len(sent)] + b"\r\n"))


CONTENTS = {
    "8-bit": (MIME + b"Subject: Gr\xfc\xdfe\r\n\r\nlatin-1 \xe4\xf6\xfc, NUL-free\r\n", "BODY=8BITMIME"),
    "utf-8": (MIME + "Subject: Grüße 📬\r\n\r\nGrüße 📬\r\n".encode(), "BODY=8BITMIME"),
    "undeclared 8-bit": (MESSAGE + "Grüße\r\n".encode(), ""),
    "dots": (MESSAGE + b".\r\n..\r\n...x\r\n.\r\nend.\r\n", ""),
    "spaces": (b"Subject:  two  spaces \r\n\tfolded \t\r\nX-Empty:\r\n\r\nend \t\r\n\r\n\r\n", ""),
    "no header": (b"\r\nbody alone\r\n", ""),
    "no fields that matter": (b"X-Nothing: here\r\n\r\nx\r\n", ""),
    "a line of 2 MB": (MESSAGE + b"x" * 2_000_000 + b"\r\nend\r\n", ""),
    "a header of 59 KB": (b"X-Long: " + b"y" * 59_000 + b"\r\n" + MESSAGE, ""),
    "20 MB": (MESSAGE + (b"z" * 76 + b"\r\n") * 262_144, "SIZE=20500000"),
    "control characters": (MESSAGE + bytes(range(1, 9)) + b"\x0b\x0c\x7f\x1b[31m\r\n", ""),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_octets_arrive_as_they_were_sent(alice: User, site: Site, kind: str) -> None:
    alias = issue(alice)
    content, options = CONTENTS[kind]

    told = send(site, alias.address, content=content, options=options)

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    (arrived,) = settled(site, 1)
    names = [name for name, _text in added_to(arrived.content, content)]
    assert [name for name in names if name != "received"] == [
        "x-anonmail-alias",
        "x-anonmail-loop",
        "list-unsubscribe",
        "list-unsubscribe-post",
    ]
    assert figures(alias) == (1, 0)


def test_a_header_field_of_any_length_arrives_over_lmtp(alice: User, fresh_site: Site) -> None:
    """With a milter, Postfix itself cuts off what is beyond 60,000 octets."""
    alias = issue(alice)
    content = b"X-Long: " + b"y" * 90_000 + b"\r\n" + MESSAGE

    send(fresh_site, alias.address, content=content)

    (arrived,) = settled(fresh_site, 1)
    assert arrived.content.endswith(content)


def test_international_addresses_and_headers_arrive(alice: User, site: Site) -> None:
    alias = issue(alice)
    content = "From: Zoë <zoë@bücher.test>\r\nTo: 你好\r\nSubject: Grüße\r\n\r\nGrüße\r\n".encode()

    told = send(
        site, alias.address, content=content, sender="zoë@bücher.test", options="SMTPUTF8 BODY=8BITMIME"
    )

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    (arrived,) = settled(site, 1)
    assert arrived.content.endswith(content)
    assert arrived.sender.isascii()
    assert Activity.objects.get().sender == "zoë@bücher.test"


@cache
def signing_key() -> tuple[bytes, bytes]:
    """A key of the sender's domain: what it signs with, and its record in the DNS (RFC 6376 §3.6)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)


def verifies(message: bytes) -> bool:
    """Whether the sender's signature is good for these octets."""
    return bool(dkim.verify(message, dnsfunc=lambda name, timeout=5: signing_key()[1]))


SIGNED = {
    "plain": b"Hello\r\n",
    "trailing space": b"Hello \t \r\n  \r\nend  \r\n\r\n\r\n",
    "8-bit": "Grüße 📬\r\n".encode() + b"\xe4\xf6\xfc\r\n",
    "long lines and dots": b"x" * 5_000 + b"\r\n.\r\n..\r\n" + b"y" * 120_000 + b"\r\n",
}


@pytest.mark.parametrize("canonical", [b"simple", b"relaxed"])
@pytest.mark.parametrize("kind", SIGNED)
def test_the_authors_signature_still_verifies(alice: User, site: Site, kind: str, canonical: bytes) -> None:
    alias = issue(alice)
    content = (
        b"From: Eve  <eve@sender.test>\r\nTo: you\r\nSubject:  two  spaces \r\n\tand folded \r\n"
        b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.test>\r\n" + MIME + b"\r\n"
    ) + SIGNED[kind]
    signature = dkim.sign(
        content, b"s1", b"sender.test", signing_key()[0], canonicalize=(canonical, canonical)
    )
    signed = signature + content
    assert verifies(signed)
    assert not verifies(signed.replace(b"two  spaces", b"two other"))

    told = send(site, alias.address, content=signed, options="BODY=8BITMIME")

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    (arrived,) = settled(site, 1)
    assert arrived.content.endswith(signed)
    assert verifies(arrived.content)


# Ends of a message to some servers and not to others (SMTP smuggling), a second message behind each.
SMUGGLED = (
    b"MAIL FROM:<forged@example.com>%(e)sRCPT TO:<victim@elsewhere.test>%(e)s"
    b"DATA%(e)sSubject: smuggled%(e)s%(e)sx"
)
ENDS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n"]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("before", ["postfix", "smtp door"])
def test_no_second_message_can_be_smuggled_in(alice: User, site: Site, line_end: bytes, before: str) -> None:
    """Through Postfix; and through the SMTP door with none before it, but one behind it that relays."""
    alias = issue(alice)
    second = SMUGGLED.replace(b"%(e)s", line_end)
    for end in ENDS:
        site.sink.arrived.clear()
        with stranger(site) if before == "postfix" else closing(Sender(site.ports.door)) as sender:
            sender.say(f"MAIL FROM:<{EVE}>".encode())
            assert sender.say(f"RCPT TO:<{alias.address}>".encode()).startswith("250")

            told = sender.octets(MESSAGE + b"%d" % len(end) + end + second + b"\r\n.\r\n")
            rest = sender.say(b"NOOP")

        assert told.startswith(ACCEPTED), end
        assert rest in {"250 2.0.0 Ok", "250 OK"}, end  # one answer for one message
        (arrived,) = settled(site, 1)
        assert arrived.recipient == "alice@home.test"
        assert b"smuggled" in arrived.content


def test_bare_line_ends_arrive_as_postfix_takes_them(alice: User, site: Site) -> None:
    """A line feed alone is a line end (smtpd_forbid_bare_newline), a return alone is a space since
    Postfix 3.7.10 (cleanup_replace_stray_cr_lf): what is smuggled with them stays in the message."""
    alias = issue(alice)
    with stranger(site) as sender:
        sender.say(f"MAIL FROM:<{EVE}>".encode())
        sender.say(f"RCPT TO:<{alias.address}>".encode())

        told = sender.octets(b"Subject: x\nTo: you\n\none\ntwo\r\nth\rree\n\r\n.\r\n")

    assert told.startswith(ACCEPTED)
    (arrived,) = settled(site, 1)
    assert re.search(rb"Subject: x\r\nTo: you\r\n\r\none\r\ntwo\r\nth[ \r]ree\r\n\r\n\Z", arrived.content)


def assert_only_our_fields(arrived: bytes, sent: bytes, address: str) -> None:
    """On top are our fields once and Received, and no line that is not a field or its folded rest."""
    fields = added_to(arrived, sent)
    top = arrived[: len(arrived) - len(sent)]
    assert [text for name, text in fields if name == "x-anonmail-alias"] == [address]
    assert {name for name, _text in fields} <= {
        "received",
        "x-anonmail-alias",
        "x-anonmail-loop",
        "list-unsubscribe",
        "list-unsubscribe-post",
    }
    assert b"\r" not in top.replace(b"\r\n", b"")
    assert b"\n" not in top.replace(b"\r\n", b"")
    assert all(re.match(rb"[A-Za-z-]+:|[ \t]", line) for line in top.removesuffix(b"\r\n").split(b"\r\n"))


def test_a_name_in_the_greeting_injects_nothing(alice: User, site: Site) -> None:
    alias = issue(alice)
    names = (
        b"a\rX-Injected: 1",
        b"a\tX-Injected: 1",
        b"<b>",
        b"a)(b \\",
        b"[IPv6:x]",
        b"\xff\xfe",
        b"x" * 400,
    )
    with stranger(site) as sender:
        for number, name in enumerate(names):
            sender.say(b"EHLO " + name)
            sender.send(alias.address, content=MESSAGE + b"%d\r\n" % number)

    arrived = settled(site, len(names))
    for message in arrived:
        assert_only_our_fields(message.content, MESSAGE + message.content[-3:], alias.address)


ODD_SENDERS = [
    b"<eve@sender.test\rX-Injected: 1>",
    b"<eve@sender.test\nX-Injected: 1>",
    b'<"eve\\\rX-Injected: 1\\\n"@sender.test>',
    b'<"eve X-Injected: 1"@sender.test>',
    b"<eve@sender.test> X-Injected: 1",
    b"<eve@sender.test>\rX-Injected: 1",
    b"<\xff\x01@sender.test>",
]
ODD_RECIPIENTS = [
    b"<%s\rX-Injected: 1@example.com>",
    b"<%s@example.com\rX-Injected: 1>",
    b"<%s@example.com\nX-Injected: 1>",
    b"<%s+\x0bX-Injected: 1@example.com>",
    b"<%s+<script>@example.com>",
    b"<%s+a\0b@example.com>",
    b'<"%s+\\\rX-Injected: 1"@example.com>',
    b"<%s@example.com> X-Injected: 1",
    b"<%s+\xff@example.com>",
    b"<%s@example.com,victim@elsewhere.test>",
    b"<victim@elsewhere.test,%s@example.com>",
]


def test_an_envelope_injects_nothing(alice: User, site: Site) -> None:
    alias = issue(alice)
    local_part = alias.address.partition("@")[0].encode()
    plain = b"<%s@example.com>" % local_part
    envelopes = [(odd, plain) for odd in ODD_SENDERS]
    envelopes += [(b"<eve@sender.test>", odd.replace(b"%s", local_part)) for odd in ODD_RECIPIENTS]
    accepted = 0

    for odd_sender, odd_recipient in envelopes:
        with stranger(site) as sender:
            sender.say(b"MAIL FROM:" + odd_sender)
            sender.say(b"RCPT TO:" + odd_recipient)
            if sender.say(b"DATA").startswith("354"):
                accepted += sender.say(MESSAGE + b"%02d\r\n." % accepted).startswith(ACCEPTED)

    arrived = settled(site, accepted)
    assert accepted  # some are only odd: they went through, or this would prove nothing
    for message in arrived:
        assert message.recipient == "alice@home.test"
        assert_only_our_fields(message.content, MESSAGE + message.content[-4:], alias.address)
    senders = Activity.objects.values_list("sender", flat=True)
    assert not any(re.search(r"[\x00-\x1f]", sender) for sender in senders)


ODD_HEADERS = [
    b"From: Eve\rBcc: victim@elsewhere.test\r <eve@sender.test>\r\n",
    b'From: "a\r\n Bcc: victim@elsewhere.test" <eve@sender.test>\r\n',
    b"From: =?utf-8?q?a=0D=0ABcc:_victim@elsewhere.test?= <eve=0d=0a@sender.test>\r\n",
    b"Subject: x\rX-Anonmail-Alias: other@example.com\r\n",
    b"X-Anonmail-Alias: other@example.com\r\nX-Anonmail-Loop: " + b"0" * 32 + b"\r\n",
    b"Bcc: victim@elsewhere.test\r\nResent-Bcc: victim@elsewhere.test\r\n",
    b"Resent-To: victim@elsewhere.test\r\nApparently-To: victim@elsewhere.test\r\n",
    b"Return-Path: <victim@elsewhere.test>\r\nErrors-To: victim@elsewhere.test\r\n",
    b"Delivered-To: alice@home.test\r\nX-Original-To: victim@elsewhere.test\r\n",
    b"Return-Receipt-To: victim@elsewhere.test\r\nDisposition-Notification-To: victim@elsewhere.test\r\n",
    b"From: " + b"a" * 2_000 + b"@sender.test\r\n",
]


def test_a_header_injects_nothing(alice: User, site: Site) -> None:
    alias = issue(alice)

    told = [send(site, alias.address, content=header + MESSAGE).data[0][:9] for header in ODD_HEADERS]

    assert told == [ACCEPTED] * len(ODD_HEADERS)
    arrived = settled(site, len(ODD_HEADERS))
    for header in ODD_HEADERS:
        # Postfix makes a space of a return alone.
        (content,) = (
            message.content
            for message in arrived
            for sent in {header + MESSAGE, re.sub(rb"\r(?!\n)", b" ", header) + MESSAGE}
            if message.content.endswith(b"\r\n" + sent)
        )
        assert_only_our_fields(content, content[-len(header + MESSAGE) :], alias.address)
    assert {message.recipient for message in arrived} == {"alice@home.test"}
    senders = Activity.objects.values_list("sender", flat=True)
    assert not any(re.search(r"[\x00-\x1f]", sender) for sender in senders)
