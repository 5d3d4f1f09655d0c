"""Peers that are slow, endless, half or too many: each loses its place, and the next one is served."""

import asyncio
import os
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

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from core.listening import Endpoint, listening_socket
from mail.delivery.message import Octets
from mail.delivery.next_hop import Outcome
from mail.models import Delivery
from tests.rig.mail_doors import Hop
from tests.rig.mail_peers import (
    DOORS,
    GOOD,
    HELLO,
    MESSAGE,
    Peer,
    Places,
    greeted,
    has_hung_up,
    is_served,
    transaction,
)
from tests.rig.mail_process import is_soon

# On PostgreSQL the doors have all their threads.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


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

        assert is_soon(all_are_gone)

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
        while not has_hung_up(peer) and time.monotonic() - began < 60:
            peer.say(b"x\r\n")
            time.sleep(0.05)

        assert time.monotonic() - began < 60
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
