"""Hostile peers at the four doors: nothing crashes, leaks, hangs or is told, and the next one is served."""

import asyncio
import logging
import os
import select
import socket
import ssl
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from core.listening import Endpoint, listening_socket
from mail.delivery.blocks import blocks
from mail.delivery.message import Octets, without_first_received
from mail.delivery.next_hop import Outcome, Pending, Refused
from mail.delivery.report import read_report
from mail.delivery.return_path import return_path
from mail.models import Activity, Bounce, Delivery
from mail.server.limits import UnknownRecipientLimit, client_address, limited_client
from tests.rig.mail_doors import Hop, running_doors

# On PostgreSQL the doors have all their threads.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]

Places = dict[str, tuple[str, int]]
DOORS = ("smtp", "lmtp", "policy", "socketmap")
MESSAGE = b"Received: by mx.test id 1\r\nFrom: Bob <bob@sender.test>\r\nSubject: Hi\r\n\r\nHello\r\n"
HELLO = {"smtp": b"EHLO x.test\r\n", "lmtp": b"LHLO x.test\r\n"}
POLICY = b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=bob@sender.test\nrecipient=%b\n\n"
GOOD = {
    "smtp": (b"NOOP\r\n", b"250 OK\r\n"),
    "lmtp": (b"NOOP\r\n", b"250 OK\r\n"),
    "policy": (POLICY % b"bob@elsewhere.test", b"action=DUNNO\n\n"),
    "socketmap": (b"27:recipients a@elsewhere.test,", b"9:NOTFOUND ,"),
}
UNKNOWN = b"550 5.1.1 User unknown"
TIMEOUT = 0.6


@pytest.fixture
def hop() -> Hop:
    return Hop()


@pytest.fixture
def open_doors(hop: Hop, settings: Settings) -> Iterator[Callable[..., Places]]:
    """Opens all four doors, with the settings that it is given."""
    settings.MAIL_POSTMASTER = "boss@boss.test"
    settings.MAIL_HOSTNAME = "mx.example.com"
    with ExitStack() as stack:

        def opened(
            other_hop: Hop | None = None, tls: ssl.SSLContext | None = None, **options: object
        ) -> Places:
            for name, value in options.items():
                setattr(settings, name, value)
            return stack.enter_context(running_doors(other_hop or hop, *DOORS, tls=tls))

        yield opened


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Time limits of a fraction of a second."""
    settings.MAIL_PATIENCE = TIMEOUT
    monkeypatch.setattr("mail.server.smtp.COMMAND_TIMEOUT", TIMEOUT)
    for name in ("QUESTION_TIMEOUT", "IDLE_TIMEOUT"):
        monkeypatch.setattr(f"mail.server.question_door.{name}", TIMEOUT)


class Peer:
    """One connection, spoken in octets. `source`: another address of loopback is another client."""

    def __init__(self, place: tuple[str, int], receive_buffer: int = 0, source: str = "") -> None:
        self.socket = socket.socket()
        if source:
            self.socket.bind((source, 0))
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect(place)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_error: object) -> None:
        self.stream.close()
        self.socket.close()

    def say(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def say_no_more(self) -> None:
        """Close this half of the connection, which the other side may have ended already."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reply(self) -> bytes:
        """One reply of SMTP's, its last line."""
        line = b""
        while line[3:4] in {b"-", b""}:
            line = self.stream.readline()
            if not line:
                return b""
        return line.rstrip(b"\r\n")

    def replies(self, number: int) -> list[bytes]:
        return [self.reply() for _ in range(number)]

    def ask(self, octets: bytes) -> bytes:
        self.say(octets)
        return self.reply()

    def rest(self) -> bytes:
        """All that comes until the other side hangs up."""
        try:
            return self.stream.read()
        except ConnectionError:
            return b""


def greeted(door: str, place: tuple[str, int]) -> Peer:
    """A connection that is past its greeting, where the door has one."""
    peer = Peer(place)
    if door in HELLO:
        assert peer.reply().startswith(b"220 ")
        assert peer.ask(HELLO[door]).startswith(b"250 ")
    return peer


def is_served(door: str, place: tuple[str, int], number: int = 1) -> bool:
    """Whether so many clients at once are answered."""
    question, answer = GOOD[door]
    with ExitStack() as stack:
        for _ in range(number):
            peer = stack.enter_context(Peer(place))
            try:
                if door in HELLO and not peer.reply().startswith(b"220 "):
                    return False
                peer.say(question)
                if peer.stream.read(len(answer)) != answer:
                    return False
            except ConnectionError:
                return False
    return True


def is_soon(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def has_hung_up(peer: Peer) -> bool:
    """Whether the other side has ended the connection, whatever of its answers was not read."""
    poll = select.poll()
    poll.register(peer.socket, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def transaction(recipient: str, content: bytes = MESSAGE, sender: bytes = b"bob@sender.test") -> bytes:
    """A whole transaction after the greeting, as a client would write it in one go."""
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    return b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n%b.\r\n" % (sender, recipient.encode(), stuffed)


HALF = {
    "smtp": [b"", b"EHL", b"EHLO x.test\r\nMAIL FROM:<bo", b"EHLO x.test\r\n\r\n", b"STARTTLS"],
    "lmtp": [b"LHLO x.test\r\nRCPT"],
    "policy": [b"request=smtpd_access_policy\nrecip", b"x"],
    "socketmap": [b"1", b"23:recipients exa", b"3:x y"],
}
HALVES = [(door, octets) for door, all_octets in HALF.items() for octets in all_octets]


@pytest.mark.usefixtures("example_com", "impatient")
@pytest.mark.parametrize("door", DOORS)
def test_who_dribbles_loses_the_place(open_doors: Callable[..., Places], door: str) -> None:
    place = open_doors(MAIL_CONNECTIONS=len(HALF[door]))[door]
    with ExitStack() as stack:
        slow = [stack.enter_context(Peer(place)) for _ in HALF[door]]
        for peer, octets in zip(slow, HALF[door], strict=True):
            peer.say(octets)

        def all_are_gone() -> bool:
            for peer in slow:
                try:
                    peer.say(b"1" if door != "policy" else b"x")
                except ConnectionError:
                    continue
                if not has_hung_up(peer):
                    return False
            return True

        assert is_soon(all_are_gone, 5)

        assert is_soon(lambda: is_served(door, place, len(slow)))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_a_message_that_never_ends_is_ended(
    open_doors: Callable[..., Places], alias: Alias, hop: Hop, door: str
) -> None:
    place = open_doors(MAIL_CONNECTIONS=1)[door]
    with greeted(door, place) as peer:
        peer.say(transaction(alias.address)[:-5])
        began = time.monotonic()
        while not has_hung_up(peer) and time.monotonic() - began < 5:
            peer.say(b"x\r\n")
            time.sleep(0.05)

        assert time.monotonic() - began < 5
    assert is_soon(lambda: is_served(door, place))
    assert hop.sent == []


FLOOD = {
    "smtp": b"MAIL\r\n" * 1000,
    "lmtp": b"MAIL\r\n" * 1000,
    "policy": GOOD["policy"][0] * 1000,
    "socketmap": b"27:recipients a@elsewhere.test," * 1000,
}


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system keeps few octets for a connection, so that one that does not listen is soon full."""

    def small(place: Endpoint) -> socket.socket:
        listener = listening_socket(place)
        for kind in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            listener.setsockopt(socket.SOL_SOCKET, kind, 4096)
        return listener

    monkeypatch.setattr("tests.rig.mail_doors.listening_socket", small)


@pytest.mark.usefixtures("example_com", "impatient", "small_buffers")
@pytest.mark.parametrize("door", DOORS)
def test_who_asks_and_never_listens_loses_the_place(open_doors: Callable[..., Places], door: str) -> None:
    place = open_doors(MAIL_CONNECTIONS=1)[door]
    with Peer(place, receive_buffer=2048) as peer:
        peer.socket.settimeout(0.3)
        with suppress(TimeoutError, ConnectionError):
            while True:
                peer.say(FLOOD[door])

        # Its connection is ended though answers wait in it.
        assert is_soon(lambda: is_served(door, place))


@pytest.mark.usefixtures("example_com", "impatient", "small_buffers")
@pytest.mark.parametrize("door", ["policy", "socketmap"])
def test_who_leaves_without_listening_keeps_no_place(open_doors: Callable[..., Places], door: str) -> None:
    place = open_doors(MAIL_CONNECTIONS=1)[door]
    with Peer(place, receive_buffer=2048) as peer:
        peer.socket.settimeout(0.1)
        with suppress(TimeoutError, ConnectionError):
            while True:
                peer.say(FLOOD[door][: len(FLOOD[door]) // 100])
        peer.say_no_more()

        assert is_soon(lambda: is_served(door, place))


@pytest.mark.usefixtures("example_com")
@pytest.mark.parametrize(("door", "octets"), HALVES)
def test_half_a_command_and_half_a_connection_end(
    open_doors: Callable[..., Places], door: str, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    place = open_doors(MAIL_CONNECTIONS=1)[door]
    with Peer(place) as peer:
        peer.say(octets)
        peer.say_no_more()
        peer.rest()
    with Peer(place) as peer:
        peer.say(octets)
        # A reset instead of a farewell.
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert is_soon(lambda: is_served(door, place))
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_whole_transactions_in_one_write(
    open_doors: Callable[..., Places], alice: User, hop: Hop, door: str
) -> None:
    first, second = (issue(owner=alice) for _ in range(2))
    one, two = MESSAGE + b".dot\r\n.\r\nQUIT\r\n", MESSAGE.replace(b"id 1", b"id 2")
    octets = transaction(first.address, one)
    octets += b"MAIL FROM:<x@y.test>\r\nRCPT TO:<%b>\r\nRSET\r\nDATA\r\n" % first.address.encode()
    octets += transaction(second.address, two) + b"QUIT\r\n"

    with Peer(open_doors()[door]) as peer:
        peer.say(HELLO[door] + octets)
        codes = [reply[:3].decode() for reply in peer.replies(15)]
        assert peer.rest() == b""

    expected = "220 250  250 250 354 250  250 250 250 503  250 250 354 250 221"
    assert codes == expected.split()
    assert [content.partition(b"One-Click\r\n")[2] for _sender, _recipient, content in hop.sent] == [one, two]


def test_what_is_said_before_tls_is_not_heard_after_it(
    open_doors: Callable[..., Places], alias: Alias, hop: Hop, certificate: ssl.SSLContext
) -> None:
    place = open_doors(tls=certificate)["smtp"]
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with Peer(place) as peer:
        assert peer.reply()[:3] == b"220"
        assert peer.ask(b"EHLO x.test\r\n")[:3] == b"250"
        assert peer.ask(b"MAIL FROM:<evil@sender.test>\r\n")[:3] == b"250"
        injected = b"STARTTLS\r\nEHLO x.test\r\n" + transaction(alias.address)
        assert peer.ask(injected)[:3] == b"220"
        try:
            inner = trusting.wrap_socket(peer.socket, server_hostname="mx.example.com")
        except (ssl.SSLError, ConnectionError):
            # What was injected is no handshake: the connection is over.
            assert hop.sent == []
            return
        with inner, inner.makefile("rb") as stream:
            inner.sendall(b"RCPT TO:<%b>\r\nQUIT\r\n" % alias.address.encode())
            # Neither the greeting nor the sender from before: RFC 3207 §4.2.
            assert [line[:3] for line in stream] == [b"503", b"221"]
    assert hop.sent == []


def test_handshakes_that_fail_leave_nothing_behind(
    open_doors: Callable[..., Places],
    example_com: object,
    certificate: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = open_doors(tls=certificate, MAIL_CONNECTIONS=2)["smtp"]
    for octets in (b"no TLS at all\r\n" * 9, b"", b"\x16\x03\x01", os.urandom(300)) * 3:
        assert is_soon(lambda: is_served("smtp", place))
        with Peer(place) as peer:
            assert peer.reply()[:3] == b"220"
            assert peer.ask(b"STARTTLS\r\n")[:3] == b"220"
            peer.say(octets)
            peer.say_no_more()
            peer.rest()

    assert is_soon(lambda: is_served("smtp", place, 2))
    assert not [record for record in caplog.records if record.exc_info]


def test_ten_thousand_recipients_over_lmtp(open_doors: Callable[..., Places], alias: Alias, hop: Hop) -> None:
    commands = b"RCPT TO:<%b>\r\n" % alias.address.encode() * 10_000
    with greeted("lmtp", open_doors()["lmtp"]) as peer:
        assert peer.ask(b"MAIL FROM:<bob@sender.test>\r\n")[:3] == b"250"
        writer = threading.Thread(target=peer.say, args=(commands,))
        writer.start()
        replies = peer.replies(10_000)
        writer.join()
        assert peer.ask(b"DATA\r\n")[:3] == b"354"
        peer.say(MESSAGE + b".\r\nQUIT\r\n")
        answers = peer.rest().splitlines()

    assert replies[:100] == [b"250 2.1.5 OK"] * 100
    assert set(replies[100:]) == {b"452 4.5.3 Too many recipients, please send the others again"}
    # The same alias a hundred times: one copy, and an answer each.
    assert answers == [b"250 2.0.0 Accepted"] * 100 + [b"221 Bye"]
    assert len(hop.sent) == 1


def test_ten_thousand_guesses_over_smtp(open_doors: Callable[..., Places], example_com: object) -> None:
    place = open_doors()["smtp"]
    with greeted("smtp", place) as peer:
        commands = b"".join(b"RCPT TO:<guess%d@example.com>\r\n" % number for number in range(10_000))
        peer.say(b"MAIL FROM:<bob@sender.test>\r\n")
        with suppress(ConnectionError):
            peer.say(commands)
        replies = peer.rest().splitlines()

    assert replies.count(UNKNOWN) <= 9
    assert is_served("smtp", place)


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_endless_lines_are_not_kept(
    open_doors: Callable[..., Places], alias: Alias, hop: Hop, door: str
) -> None:
    place = open_doors(MAIL_SIZE_LIMIT=1_000_000)[door]
    with greeted(door, place) as peer:
        peer.say(b"NOOP " + b"x" * 3_000_000 + b"\r\n")
        assert peer.reply() == b"500 Command line too long"
        tracemalloc.start()
        try:
            peer.say(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<%b>\r\nDATA\r\n" % alias.address.encode())
            assert [reply[:3] for reply in peer.replies(3)] == [b"250", b"250", b"354"]
            # The smallest pieces that there are.
            peer.say(b"..\r\n" * 250_000 + b".\r\n")
            assert peer.reply() == b"250 2.0.0 Accepted"
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peer.ask(transaction(alias.address, b"x" * 1_500_000 + b"\r\n"))[:3] == b"250"
        too_large = b"452" if door == "lmtp" else b"552"
        assert [reply[:3] for reply in peer.replies(3)] == [b"250", b"354", too_large]

    assert len(hop.sent) == 1
    assert peak < 12_000_000


@pytest.mark.usefixtures("example_com")
@pytest.mark.parametrize("door", DOORS)
def test_a_flood_of_connections_is_turned_away_and_forgotten(
    open_doors: Callable[..., Places], door: str
) -> None:
    place = open_doors(MAIL_CONNECTIONS=10)[door]
    question, answer = GOOD[door]
    for _round in range(3):
        with ExitStack() as stack:
            peers = [stack.enter_context(Peer(place)) for _ in range(60)]
            served = 0
            for peer in peers:
                try:
                    line = peer.reply() if door in HELLO else b""
                    assert line[:3] in {b"220", b"421", b""}
                    if line[:3] == b"421":
                        assert peer.rest() == b""
                        continue
                    peer.say(question)
                    said = peer.stream.read(len(answer))
                except ConnectionError:
                    continue
                assert said in {answer, b""}
                served += said == answer
            assert served == 10

        assert is_soon(lambda: is_served(door, place, 10))


def test_guesses_count_for_the_client_over_its_connections(
    open_doors: Callable[..., Places], alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_doors(MAIL_UNKNOWN_PER_CLIENT=5, MAIL_TRUSTED_CLIENTS=[])["smtp"]

    def rcpt(recipient: str) -> bytes:
        with greeted("smtp", place) as peer:
            peer.ask(b"MAIL FROM:<bob@sender.test>\r\n")
            return peer.ask(b"RCPT TO:<%b>\r\n" % recipient.encode())

    assert [rcpt(f"guess{number}@example.com") for number in range(5)] == [UNKNOWN] * 5
    assert rcpt("guess@example.com")[:3] == rcpt(alias.address)[:3] == b"421"
    # As if the periods were over.
    monkeypatch.setattr("mail.server.limits._Count.at", lambda count, now: 0)
    assert rcpt(alias.address)[:3] == b"250"


def test_the_count_of_guesses_is_by_network_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mail.server.limits.CLIENTS_REMEMBERED", 100)
    limit = UnknownRecipientLimit(1)

    limit.count(limited_client("2001:db8::1"))
    limit.count(limited_client(client_address(("::ffff:192.0.2.1", 25, 0, 0))))

    assert limit.is_over(limited_client("2001:db8::ffff"))
    assert not limit.is_over(limited_client("2001:db8:0:1::1"))
    # A socket for both families writes IPv4 addresses as IPv6 ones: they are no common network.
    assert limit.is_over("192.0.2.1")
    assert not limit.is_over(limited_client(client_address(("::ffff:192.0.2.2", 25, 0, 0))))
    for number in range(1000):
        limit.count(f"192.0.{number // 250}.{number % 250}")
    assert len(limit._counts) == 100


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


BOMBS = {
    "lines": b"".join(b"X-%d: y\r\n" % number for number in range(100_000)) + b"\r\nbody\r\n",
    "long": b"X: " + b"y" * 10_000_000 + b"\r\n\r\nbody\r\n",
    "folded": b"X:" + b" y\r\n" * 1_000_000 + b"\r\nbody\r\n",
    "comments": b"From: " + b"(" * 200_000 + b"\r\n\r\nbody\r\n",
    "quotes": b"From: " + b'"\\' * 100_000 + b"\r\n\r\nbody\r\n",
    "groups": b"From: " + b"a:b," * 50_000 + b";\r\n\r\nbody\r\n",
    "routes": b"From: " + b"<@a," * 50_000 + b">\r\n\r\nbody\r\n",
    "dots": b"From: " + b"a." * 100_000 + b"@b.test\r\n\r\nbody\r\n",
    "brackets": b"From: a@" + b"[" * 200_000 + b"\r\n\r\nbody\r\n",
    "tags": b"DKIM-Signature: " + b"h=a:;" * 50_000 + b"\r\n\r\nbody\r\n",
    "no header": b"\r\n" * 1_000_000,
    "no line ends": b"x" * 5_000_000,
    "received": b"Received: " + b"x\r\n " * 1_000_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_in_the_header_is_forwarded_once(
    open_doors: Callable[..., Places], alias: Alias, hop: Hop, bomb: str
) -> None:
    content = BOMBS[bomb] if BOMBS[bomb].endswith(b"\r\n") else BOMBS[bomb] + b"\r\n"
    began = time.process_time()
    with greeted("lmtp", open_doors()["lmtp"]) as peer:
        for _try in range(2):
            peer.say(transaction(alias.address, content))
            assert [reply[:3] for reply in peer.replies(4)] == [b"250", b"250", b"354", b"250"]

    # Once: what was sent and could not be written down would be sent again with every try.
    assert len(hop.sent) == 1
    assert hop.sent[0][2].endswith(content)
    alias.refresh_from_db()
    assert alias.forwards == 1
    assert time.process_time() - began < 10


def test_a_folded_received_field_is_one_field() -> None:
    rest = b"From: a@b.test\r\n\r\nbody\r\n"

    for end in (b"\r\n", b"\n"):
        assert without_first_received(b"Received: from x" + end + b"\tby y; now" + end + rest) == rest
    assert without_first_received(b"Received: x\r\n y") == b""


def report(status: bytes = b"5.1.1", human: bytes = b"Sorry.", returned: bytes = b"Subject: Hi\r\n") -> bytes:
    """A delivery status notification (RFC 3464) for a recipient that failed."""
    return (
        b'From: MAILER-DAEMON@far.test\r\nContent-Type: multipart/report; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\n" + human + b"\r\n"
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; far.test\r\n\r\n"
        b"Final-Recipient: rfc822; gone@far.test\r\nAction: failed\r\nStatus: " + status + b"\r\n\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + returned + b"\r\n--b--\r\n"
    )


HEAD = b'Content-Type: multipart/report; boundary="b"\r\n\r\n--b\r\n'
STATUS = HEAD + b"Content-Type: message/delivery-status\r\n\r\n"
NEST = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(200))
MEGABYTES = 20
REPORTS = {
    "blocks": lambda: STATUS + b"a:\n\n" * (MEGABYTES * 250_000),
    "fields": lambda: STATUS + b"a:b\n" * (MEGABYTES * 250_000),
    "folded": lambda: STATUS + b"Action: failed\n" + b" x\n" * (MEGABYTES * 333_000),
    "long": lambda: STATUS + b"Action: " + b"x" * (MEGABYTES * 1_000_000),
    "header": lambda: b"X: y\r\n" * (MEGABYTES * 166_000) + report(),
    "nested": lambda: NEST + b"x\r\n" * (MEGABYTES * 333_000),
    "deep": lambda: NEST * 1500,
    "messages": lambda: b"Content-Type: message/rfc822\r\n\r\n" * (MEGABYTES * 31_000),
    "parts": lambda: HEAD + b"\r\n--b\r\n" * (MEGABYTES * 125_000),
    "numbers": lambda: STATUS + b"\n\nAction: failed\nStatus: " + b"5.1." * (MEGABYTES * 250_000),
    "boundary": lambda: (
        b'Content-Type: multipart/report; boundary="' + b"b" * (MEGABYTES * 1_000_000) + b'"\r\n\r\n'
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_bomb_to_a_bounce_address_is_no_work(name: str) -> None:
    octets = REPORTS[name]()
    began = time.thread_time()
    read_report(octets)
    assert time.thread_time() - began < 5

    if name not in {"blocks", "fields", "parts", "messages"}:
        # Measuring makes it many times slower: only where there are many small things.
        return
    tracemalloc.start()
    try:
        read_report(octets[:100_000])
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64_000_000


def status_of(octets: bytes) -> str:
    found = read_report(octets)
    assert found is not None
    return found.status


def test_a_report_is_read_whatever_it_brings_along() -> None:
    assert status_of(report(returned=b"x: y\r\n" * 3_000_000)) == "5.1.1"
    assert status_of(report(human=b"<p>Sorry, so sorry.</p>\r\n" * 4_000)) == "5.1.1"
    assert status_of(report(b"4.2.2 (mailbox full)").replace(b"\r\n", b"\n")) == "4.2.2"


def test_a_bomb_to_a_valid_bounce_address_is_taken(open_doors: Callable[..., Places], alias: Alias) -> None:
    home = EmailAddress.objects.get(user=alias.owner)
    path = return_path(alias.pk, home.pk, "example.com", timezone.now())
    bomb = report(b"5.1.1\0" + b"9" * 500, returned=NEST * 500)
    with greeted("smtp", open_doors()["smtp"]) as peer:
        peer.say(transaction(path, bomb, sender=b""))
        assert [reply[:3] for reply in peer.replies(4)] == [b"250", b"250", b"354", b"250"]

    assert [bounce.status for bounce in Bounce.objects.all()] == ["5.1.1"]


class SlowHop(Hop):
    """Accepts when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    async def send(self, sender: str, recipient: str, message: Octets, **more: Any) -> Outcome:
        self.has_begun.set()
        assert await asyncio.to_thread(self.may_end.wait, 20)
        return await super().send(sender, recipient, message, **more)


@pytest.fixture
def slow_hop() -> Iterator[SlowHop]:
    slow = SlowHop()
    yield slow
    slow.may_end.set()


@pytest.mark.parametrize("is_rude", [True, False])
@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_who_leaves_while_we_forward_is_recognised_when_back(
    slow_hop: SlowHop,
    open_doors: Callable[..., Places],
    alias: Alias,
    door: str,
    is_rude: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Who hangs up politely may listen still, and keeps the place until the answer.
    hop, place = slow_hop, open_doors(slow_hop, MAIL_CONNECTIONS=1 if is_rude else 2)[door]
    octets = transaction(alias.address)
    with greeted(door, place) as peer:
        peer.say(octets)
        assert hop.has_begun.wait(10)
        if is_rude:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert is_soon(lambda: is_served(door, place))
    with greeted(door, place) as peer:
        # Back too early: the first try is underway still.
        peer.say(octets)
        assert [reply[:3] for reply in peer.replies(3)] == [b"250", b"250", b"354"]
        hop.may_end.set()
        early = peer.reply()[:3]
    assert early == b"250" or is_soon(lambda: Delivery.objects.exists())
    if door == "lmtp" or early == b"451":
        # At the SMTP door, what was answered for may come again as another message.
        with greeted(door, place) as peer:
            peer.say(octets)
            assert peer.replies(4)[3][:3] == b"250"

    assert early in {b"250", b"451"}
    alias.refresh_from_db()
    assert (len(hop.sent), alias.forwards) == (1, 1)
    assert not [record for record in caplog.records if record.exc_info]


def test_logs_hold_no_address(
    open_doors: Callable[..., Places], alice: User, hop: Hop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in (
        "mail",
        "mail.server.smtp_handler",
        "mail.delivery.forward",
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
