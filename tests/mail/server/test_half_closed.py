"""Senders that close their half of the connection with their last octet, and wait for our answer."""

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.delivery.next_hop import Outcome
from mail.delivery.return_path import return_path
from mail.models import Activity, Bounce
from tests.rig.mail_doors import Hop, running_doors

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGE = b"Subject: x\r\n\r\nhi\r\n"
HELLO = {"smtp": b"EHLO x.test\r\n", "lmtp": b"LHLO x.test\r\n"}
POLICY = b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=bob@sender.test\nrecipient=%b\n\n"
DONE = b"250 2.0.0 Accepted"
Places = dict[str, tuple[str, int]]
REPORT = (
    b"From: MAILER-DAEMON@mx.test\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="x"\r\n\r\n'
    b"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n"
    b"Final-Recipient: rfc822; alice@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--x--\r\n"
)


class SlowHop(Hop):
    """Takes its time."""

    async def send(self, *arguments: Any, **more: Any) -> Outcome:
        await asyncio.sleep(0.3)
        return await super().send(*arguments, **more)


@pytest.fixture
def hop() -> Hop:
    return SlowHop()


@pytest.fixture
def places(hop: Hop, settings: Settings) -> Iterator[Places]:
    settings.MAIL_POSTMASTER = "boss@boss.test"
    settings.MAIL_HOSTNAME = "mx.example.com"
    with running_doors(hop, "smtp", "lmtp", "policy", "socketmap") as found:
        yield found


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


def envelope(door: str, recipient: str, sender: bytes = b"bob@sender.test") -> bytes:
    return HELLO[door] + b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n" % (sender, recipient.encode())


def last_words(place: tuple[str, int], *pieces: bytes) -> list[bytes]:
    """All lines that come after the last piece, with which our half of the connection is closed.

    Before each further piece, a line that begins with 354 is waited for.
    """
    with socket.create_connection(place, 20) as peer, peer.makefile("rb") as stream:
        for number, piece in enumerate(pieces):
            if number:
                while not (line := stream.readline()).startswith(b"354"):
                    assert line
            peer.sendall(piece)
        peer.shutdown(socket.SHUT_WR)
        return stream.read().splitlines()


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_the_answer_is_heard(places: Places, alias: Alias, hop: Hop, door: str) -> None:
    said = last_words(places[door], envelope(door, alias.address), MESSAGE + b".\r\nQUIT\r\n")

    assert said == [DONE, b"221 Bye"]
    assert len(hop.sent) == 1


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_the_answers_to_everything_in_one_write_are_heard(
    places: Places, alice: User, hop: Hop, door: str
) -> None:
    aliases = [issue(owner=alice) for _ in range(3)]
    octets = b"".join(envelope(door, alias.address) + MESSAGE + b".\r\n" for alias in aliases)

    said = last_words(places[door], octets + b"QUIT\r\n")

    assert [line for line in said if line.startswith((b"250 2.0", b"221"))] == [DONE] * 3 + [b"221 Bye"]
    assert len(hop.sent) == 3


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_without_quit_the_connection_ends_after_the_answer(
    places: Places, alias: Alias, hop: Hop, door: str
) -> None:
    assert last_words(places[door], envelope(door, alias.address), MESSAGE + b".\r\n") == [DONE]


@pytest.mark.parametrize(
    "octets", [MESSAGE, MESSAGE + b".", MESSAGE + b".\r", MESSAGE + b"\r\n.QUIT\r\n", b""]
)
@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_an_end_within_the_message_is_none(
    places: Places, alias: Alias, hop: Hop, door: str, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert last_words(places[door], envelope(door, alias.address), octets) == []

    assert hop.sent == []
    assert not [record for record in caplog.records if record.exc_info or record.name == "asyncio"]
    assert last_words(places[door], HELLO[door] + b"QUIT\r\n")[-1] == b"221 Bye"


@pytest.mark.parametrize("octets", [b"", b"NOOP", b"x" * 5000, b"NOOP\r\nNOO"])
def test_an_end_within_a_command_is_one(
    places: Places, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    said = last_words(places["smtp"], octets)

    assert said[0].startswith(b"220 ")
    assert said[1:] == [b"250 OK"] * octets.count(b"\r\n")
    assert not [record for record in caplog.records if record.exc_info or record.name == "asyncio"]


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_postmasters_mail_is_recognised_when_it_comes_again(
    places: Places, hop: Hop, door: str, alice: User
) -> None:
    # Nobody knows whether a sender that has closed its half has heard us.
    for _ in range(3):
        octets = envelope(door, "postmaster@example.com"), MESSAGE + b".\r\nQUIT\r\n"
        assert last_words(places[door], *octets) == [DONE, b"221 Bye"]

    assert len(hop.sent) == 1
    octets = envelope(door, "abuse@example.com"), MESSAGE + b".\r\nQUIT\r\n"
    assert last_words(places[door], *octets) == [DONE, b"221 Bye"]
    assert len(hop.sent) == 2


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_postmasters_mail_that_is_acknowledged_may_come_again(
    places: Places, hop: Hop, alice: User, door: str
) -> None:
    kind = smtplib.LMTP if door == "lmtp" else smtplib.SMTP
    for _ in range(2):
        with kind(*places[door], timeout=20) as client:
            client.sendmail("bob@sender.test", ["postmaster@example.com"], MESSAGE)

    # Over LMTP, the same octets are the same message, always.
    assert len(hop.sent) == {"smtp": 2, "lmtp": 1}[door]


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_a_bounce_is_counted_once(places: Places, alias: Alias, door: str) -> None:
    home = EmailAddress.objects.get(user=alias.owner)
    path = return_path(alias.pk, home.pk, "example.com", timezone.now())
    for _ in range(3):
        octets = envelope(door, path, b""), REPORT + b".\r\nQUIT\r\n"
        assert last_words(places[door], *octets) == [DONE, b"221 Bye"]

    assert Bounce.objects.count() == Activity.objects.filter(event="bounce").count() == 1


def netstring(octets: bytes) -> bytes:
    return b"%d:%b," % (len(octets), octets)


def test_questions_are_answered_to_the_last(places: Places, alias: Alias) -> None:
    address = alias.address.encode()
    asked = POLICY % address + POLICY % b"bob@elsewhere.test" + POLICY % b"nobody@example.com"
    expected = [b"action=DUNNO", b"", b"action=DUNNO", b"", b"action=550 5.1.1 User unknown", b""]
    assert last_words(places["policy"], asked) == expected
    assert last_words(places["policy"], asked + b"request=") == expected
    keys = [b"recipients " + address, b"recipients bob@elsewhere.test", b"recipients nobody@example.com"]
    asked = b"".join(map(netstring, keys))
    expected = [netstring(b"OK " + address) + netstring(b"NOTFOUND ") * 2]
    assert last_words(places["socketmap"], asked) == expected
    assert last_words(places["socketmap"], asked + b"7:dom") == expected


def test_over_tls_the_end_is_the_end(
    alias: Alias, hop: Hop, certificate: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with running_doors(hop, "smtp", tls=certificate) as places:
        for _ in range(3):
            with socket.create_connection(places["smtp"], 20) as peer, peer.makefile("rb") as stream:
                stream.readline()
                peer.sendall(b"STARTTLS\r\n")
                assert stream.readline()[:3] == b"220"
                with trusting.wrap_socket(peer) as inner:
                    inner.sendall(envelope("smtp", alias.address) + MESSAGE + b".\r\nQUIT\r\n")
                    with suppress(OSError):
                        inner.unwrap()

    # What was taken, and nobody heard of, is recognised when it comes again.
    assert len(hop.sent) <= 1
    assert not [record for record in caplog.records if record.exc_info]
