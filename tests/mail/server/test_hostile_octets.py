"""Octets that are no protocol, at each door: nothing crashes, and nothing is told."""

import logging
import socket
import struct
from collections.abc import Callable

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.delivery.blocks import blocks
from mail.delivery.next_hop import Pending, Refused
from mail.delivery.return_path import return_path
from mail.models import Activity
from tests.rig.mail_doors import Hop
from tests.rig.mail_peers import (
    DOORS,
    HELLO,
    POLICY,
    UNKNOWN,
    Peer,
    Places,
    greeted,
    is_served,
    report,
    transaction,
)
from tests.rig.mail_process import is_soon

# On PostgreSQL the doors have all their threads.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


def netstring(octets: bytes) -> bytes:
    return b"%d:%b," % (len(octets), octets)


WORDS = {
    "smtp": [
        *(word + b"\r\n" for word in b"DATA . RSET QUIT NOOP STARTTLS HELP".split()),
        *(word + b" x\r\n" for word in b"EHLO HELO VRFY EXPN AUTH MAIL RCPT".split()),
        *(b"MAIL FROM:<", b"RCPT TO:<", b"MAIL FROM:<a@b.test>\r\n", b"RCPT TO:<postmaster@example.com>\r\n"),
        *b"@example.com > postmaster SMTPUTF8 SIZE= BODY=8BITMIME".split(),
    ],
    "policy": b"request=smtpd_access_policy protocol_state=RCPT recipient= sender= @example.com =".split(),
    "socketmap": [*b"recipients example.com @ 5: 0:, , : -1: 6:".split(), b" "],
}
WORDS["lmtp"] = [*WORDS["smtp"], b"LHLO x\r\n"]
ODDITIES = [b"\r\n", b"\n", b"\n\n", b"\r", b"\0", b"\xff", b"\xed\xa0\x80", b"(", b'"', b" "]


def garbage(door: str) -> st.SearchStrategy[bytes]:
    """Octets, and what looks like the protocol without being it."""
    pieces = st.lists(st.one_of(st.sampled_from(WORDS[door]), st.binary(max_size=40)), max_size=25).map(
        b"".join
    )
    if door == "socketmap":
        pieces = st.one_of(pieces, st.lists(pieces.map(netstring), max_size=5).map(b"".join))
    return pieces


@pytest.mark.usefixtures("example_com")
@pytest.mark.parametrize("door", DOORS)
def test_garbage_is_survived(
    open_doors: Callable[..., Places],
    door: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = open_doors(MAIL_CONNECTIONS=3, MAIL_UNKNOWN_PER_CLIENT=0, MAIL_UNKNOWN_PER_DAY=0)[door]

    @profile(
        max_examples=100,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(garbage(door), st.booleans())
    def send(octets: bytes, is_rude: bool) -> None:
        with Peer(place) as peer:
            peer.socket.settimeout(5)
            try:
                peer.say(octets)
                if is_rude:
                    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    peer.say_no_more()
                    peer.rest()
            except ConnectionError:
                pass

    send()

    assert is_soon(lambda: is_served(door, place, 3))
    assert not [record for record in caplog.records if record.exc_info or record.name == "asyncio"]


ODD = [
    b"a\0b",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xc3",
    b"x" * 600,
    "ü".encode(),
    b"%s{0}",
    b"\x1b[31m",
    b"a\rb",
]


@pytest.mark.parametrize("odd", ODD)
def test_odd_octets_at_the_doors_of_mail(
    open_doors: Callable[..., Places], alice: User, hop: Hop, odd: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    enabled, disabled = (issue(owner=alice) for _ in range(2))
    disabled.disable()
    places = open_doors(MAIL_UNKNOWN_PER_CLIENT=0, MAIL_UNKNOWN_PER_DAY=0)
    sender = b'"%b"@sender.test' % odd
    contents = []
    for door in ("smtp", "lmtp"):
        content = b"From: %b <%b@sender.test>\r\n%b: %b\r\n\r\n\r\n" % (odd, odd, odd, door.encode())
        contents.append(content)
        with Peer(places[door]) as peer:
            assert peer.reply()[:3] == b"220"
            hello = HELLO[door].replace(b"x.test", odd[:200])
            assert peer.ask(hello)[:3] == b"250"
            for recipient in (odd + b"@example.com", b"x@" + odd, b"x@%b.example.com" % odd, odd):
                peer.say(b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nRSET\r\n" % (sender, recipient))
                codes = [reply[:3] for reply in peer.replies(3)]
                # After it was queued, what is refused is dropped instead.
                refused = {b"250", b"451"} if door == "lmtp" else {b"550", b"553", b"503", b"501"}
                assert codes[1] in refused, codes
            peer.say(b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\n" % (sender, disabled.address.encode()))
            taken, refusal = peer.replies(2)
            if taken[:3] == b"250":
                assert refusal == (UNKNOWN if door == "smtp" else b"250 2.1.5 OK")
                blocks.write()
                assert Activity.objects.filter(alias=disabled, event="block").exists()
            peer.say(b"RSET\r\n" + transaction(enabled.address, content, b"x@y.test"))
            assert [reply[:3] for reply in peer.replies(5)] == [b"250", b"250", b"250", b"354", b"250"]

    assert [sent[2].partition(b"One-Click\r\n")[2] for sent in hop.sent] == contents
    assert Activity.objects.filter(alias=enabled, event="forward").count() == 2
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("odd", ODD)
def test_odd_octets_at_the_doors_of_questions(
    open_doors: Callable[..., Places], alias: Alias, odd: bytes
) -> None:
    alias.disable()
    places = open_doors()
    recipients = [odd + b"@example.com", b"x@%b.example.com" % odd, b"x@" + odd, odd]
    answers = [UNKNOWN, b"DUNNO", b"DUNNO", b"DUNNO"]
    with Peer(places["policy"]) as peer:
        for recipient, answer in zip(recipients, answers, strict=True):
            peer.say(POLICY % recipient)
            assert peer.stream.readline() == b"action=%b\n" % answer
            assert peer.stream.readline() == b"\n"
        question = POLICY % alias.address.encode()
        peer.say(question.replace(b"bob@sender.test", odd + b"@sender.test"))
        assert peer.stream.readline() == b"action=%b\n" % UNKNOWN
    with Peer(places["socketmap"]) as peer:
        for key in recipients:
            peer.say(netstring(b"recipients " + key))
            assert peer.stream.read(12) == b"9:NOTFOUND ,"
    blocks.write()
    alias.refresh_from_db()
    assert alias.blocks == Activity.objects.filter(event="block").count() == 1
    assert "\0" not in Activity.objects.get().sender


def test_logs_hold_no_address(
    open_doors: Callable[..., Places], alice: User, hop: Hop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in (
        "mail",
        "mail.server.smtp_handler",
        "mail.delivery.forward",
        "mail.delivery.sending",
        "mail.server.policy",
        "mail.server.socketmap",
        "aliases",
    ):
        caplog.set_level(logging.DEBUG, logger=name)
    for email in ("gone@home.test", "down@home.test"):
        EmailAddress.objects.create(user=alice, email=email, verified=True)
    hop.answers = {"gone@home.test": Refused("5.1.1"), "down@home.test": Pending("down")}
    alias = issue(owner=alice, destinations=["alice@example.com", "gone@home.test", "down@home.test"])
    home = EmailAddress.objects.get(email="gone@home.test")
    path = return_path(alias.pk, home.pk, "example.com", timezone.now())
    places = open_doors()
    with greeted("lmtp", places["lmtp"]) as peer:
        for recipient in ("nobody@example.com", "x@elsewhere.test"):
            peer.say(transaction(recipient).partition(b"DATA")[0] + b"RSET\r\n")
        peer.say(transaction(alias.address))
        peer.say(transaction(path, report(), b"") + b"NONSENSE a@b.test\r\nQUIT\r\n")
        peer.rest()
    with Peer(places["policy"]) as peer:
        peer.say(POLICY % b"a@b.test" + POLICY % alias.address.encode() + b"recipient=a@b.test\n\n")
        peer.rest()
    with Peer(places["socketmap"]) as peer:
        peer.say(netstring(b"nomap a@b.test"))
        peer.rest()

    assert "bounced: 5.1.1" in caplog.text
    assert "pending: down" in caplog.text
    assert "malformed request" in caplog.text
    for told in ("sender.test", "home.test", alias.address, "b.test", "nobody"):
        assert told not in caplog.text
