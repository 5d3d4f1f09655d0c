"""One client, alone: what it can take of a door leaves the others theirs, and what it asks tells little."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from django.db import OperationalError, connections
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from mail.delivery.blocks import Blocks, blocks
from mail.delivery.message import Octets
from mail.delivery.next_hop import Outcome
from mail.delivery.resolve import resolve
from mail.delivery.verdict import UNKNOWN, verdict
from mail.models import Activity
from mail.server.doors import Doors
from mail.server.limits import (
    Connections,
    ForwardingTurns,
    MessageMemory,
    UnknownRecipientLimit,
    limited_client,
)
from mail.server.recipients import decide
from tests.rig.mail_doors import Hop, running_doors

pytestmark = pytest.mark.django_db(transaction=True)

STRANGER, OTHER = "127.0.0.1", "127.0.0.2"
MESSAGE = b"Received: by mx.test id 1\r\nFrom: Bob <bob@sender.test>\r\nSubject: Hi\r\n\r\nHello\r\n"
Place = tuple[str, int]
Open = Callable[..., dict[str, Place]]


@pytest.fixture
def hop() -> Hop:
    return Hop()


@pytest.fixture
def open_doors(hop: Hop, settings: Settings) -> Iterator[Open]:
    """Opens the SMTP and policy doors to strangers, with the settings that it is given."""
    settings.MAIL_TRUSTED_CLIENTS = ["unix"]
    with ExitStack() as stack:

        def opened(other_hop: Hop | None = None, **options: object) -> dict[str, Place]:
            for name, value in options.items():
                setattr(settings, name, value)
            return stack.enter_context(running_doors(other_hop or hop, "smtp", "policy"))

        yield opened


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


class Client:
    """One SMTP connection from an address of loopback's, each of which is another client."""

    def __init__(self, place: Place, source: str = STRANGER) -> None:
        self.socket = socket.create_connection(place, 20, (source, 0))
        self.stream = self.socket.makefile("rb")
        self.greeting = self.reply()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_error: object) -> None:
        self.stream.close()
        self.socket.close()

    def reply(self) -> bytes:
        """One reply's last line; nothing where they have hung up."""
        line = b"   -"
        while line[3:4] == b"-":
            line = self.stream.readline()
        return line.rstrip(b"\r\n")

    def say(self, octets: bytes) -> bytes:
        self.socket.sendall(octets)
        return self.reply()

    def begin(self, recipient: str) -> bytes:
        """The reply to DATA."""
        self.say(b"EHLO x.test\r\n")
        self.say(b"MAIL FROM:<bob@sender.test>\r\n")
        self.say(b"RCPT TO:<%b>\r\n" % recipient.encode())
        return self.say(b"DATA\r\n")

    def send(self, recipient: str, content: bytes = MESSAGE) -> bytes:
        """The reply to a whole message."""
        assert self.begin(recipient)[:3] == b"354"
        return self.say(content + b".\r\n")


def send(place: Place, recipient: str, source: str, content: bytes = MESSAGE) -> bytes:
    with Client(place, source) as client:
        return client.send(recipient, content)


def test_who_asks_for_relaying_loses_the_connection(open_doors: Open, example_com: Domain) -> None:
    with Client(open_doors()["smtp"]) as client:
        client.say(b"EHLO x.test\r\n")
        client.say(b"MAIL FROM:<bob@sender.test>\r\n")
        answers = [client.say(b"RCPT TO:<a@elsewhere.test>\r\n")[:3] for _ in range(10)]

        assert answers == [b"550"] * 9 + [b"421"]
        assert client.stream.read() == b""


def test_messages_that_fall_silent_take_nobody_elses_room(open_doors: Open, alias: Alias) -> None:
    place = open_doors(MAIL_MEMORY=1_000_000)["smtp"]
    with ExitStack() as stack:
        for _ in range(11):
            silent = stack.enter_context(Client(place))
            assert silent.begin(alias.address)[:3] == b"354"
            silent.socket.sendall(b"x" * 98 * 1000 + b"\r\n")
        time.sleep(0.2)

        assert send(place, alias.address, OTHER, MESSAGE + b"y\r\n" * 20_000) == b"250 2.0.0 Accepted"
        # Nor their own small ones.
        assert send(place, alias.address, STRANGER) == b"250 2.0.0 Accepted"


def test_of_those_who_fill_the_memory_the_largest_gives_way(settings: Settings) -> None:
    settings.MAIL_MEMORY = 100

    class Some:
        has_given_way = False

        def give_way(self) -> None:
            self.has_given_way = True

    room, messages = MessageMemory(), [Some() for _ in range(5)]
    for message, client, octets in zip(messages, "aaabb", (30, 20, 10, 35, 5), strict=True):
        room.hold(message, client, octets)
    assert not any(message.has_given_way for message in messages)

    room.hold(messages[4], "b", 1)

    assert [message.has_given_way for message in messages] == [True, False, False, False, False]
    assert room.octets == 71
    # What is being forwarded does not: then it is the next one's turn.
    room.keep(messages[3])
    room.hold(messages[4], "b", 30)
    assert [message.has_given_way for message in messages] == [True, False, False, False, True]
    for message in messages:
        room.release(message)
    assert room.octets == 0


@pytest.mark.parametrize("octets", [b"", b"x" * 5000])
def test_a_message_that_falls_silent_is_ended(open_doors: Open, alias: Alias, octets: bytes) -> None:
    place = open_doors(MAIL_PATIENCE=1)["smtp"]
    with Client(place) as client:
        # Before the server's time begins.
        began = time.monotonic()
        client.begin(alias.address)

        assert client.say(octets) == b"421 4.4.2 Timeout, try again later"
        assert client.stream.read() == b""
        assert 0.9 < time.monotonic() - began < 20


def test_a_message_that_comes_slowly_is_taken(open_doors: Open, alias: Alias) -> None:
    place = open_doors(MAIL_PATIENCE=4, MAIL_LEAST_RATE=500)["smtp"]
    with Client(place) as client:
        client.begin(alias.address)
        # In all longer than its patience.
        for _ in range(12):
            client.socket.sendall(b"x" * 1998 + b"\r\n")
            time.sleep(0.4)

        assert client.say(b".\r\n") == b"250 2.0.0 Accepted"


def test_a_message_that_dribbles_is_ended_however_much_of_it_came_at_once(
    open_doors: Open, alias: Alias
) -> None:
    # At this rate, what comes at once would take a hundred seconds.
    place = open_doors(MAIL_PATIENCE=1, MAIL_LEAST_RATE=10_000)["smtp"]
    with Client(place) as client:
        client.begin(alias.address)
        client.socket.sendall(b"x" * 1_000_000)
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 60:
                client.socket.sendall(b"x" * 110)
                time.sleep(0.05)

        assert time.monotonic() - began < 60


class SlowFor(Hop):
    """A next hop that is slow for one destination, until it is told to go on."""

    def __init__(self, slow: str) -> None:
        super().__init__()
        self.slow, self.begun, self.may_end = slow, threading.Semaphore(0), threading.Event()

    async def send(self, sender: str, recipient: str, message: Octets, **more: Any) -> Outcome:
        if recipient == self.slow:
            self.begun.release()
            assert await asyncio.to_thread(self.may_end.wait, 20)
        return await super().send(sender, recipient, message, **more)


@pytest.mark.parametrize("hangs_up", [False, True])
def test_one_client_does_not_take_all_turns(
    open_doors: Open, alias: Alias, root: User, hangs_up: bool
) -> None:
    other = issue(owner=root, domain="example.com")
    hop = SlowFor("alice@example.com")
    place = open_doors(hop, MAIL_MESSAGES_AT_ONCE=4)["smtp"]
    try:
        with ExitStack() as stack:
            for number in range(6):
                client = stack.enter_context(Client(place))
                client.begin(alias.address)
                client.socket.sendall(MESSAGE.replace(b"id 1", b"id %d" % number) + b"%d\r\n.\r\n" % number)
                if number < 2:
                    assert hop.begun.acquire(timeout=10)
                if hangs_up:
                    client.__exit__()

            assert send(place, other.address, OTHER) == b"250 2.0.0 Accepted"
            assert not hop.begun.acquire(timeout=0.2)
    finally:
        hop.may_end.set()


def test_a_turn_is_taken_and_given_back() -> None:
    async def run() -> None:
        turns = ForwardingTurns(2)
        end = await turns.take("a")
        waiting = asyncio.ensure_future(turns.take("a"))
        (await turns.take("b"))()
        (await turns.take(""))()
        await asyncio.sleep(0)
        assert not waiting.done()
        given_up = asyncio.ensure_future(turns.take("a"))
        await asyncio.sleep(0)
        given_up.cancel()
        end()
        (await waiting)()
        await asyncio.gather(given_up, return_exceptions=True)
        assert turns._queues == {}

    # In a thread: a browser's tests may have left a loop running in this one.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, run()).result()


class Transport:
    """As much of a connection as is asked for its place."""

    def __init__(self, peer: object) -> None:
        self.peer = peer

    def get_extra_info(self, name: str) -> object:
        return self.peer


def admitted(connections: Connections, *peers: object) -> int:
    transports: list[Any] = [Transport(peer) for peer in peers]
    return sum(connections.admit(transport, transport) for transport in transports)


def test_a_network_of_ipv6_has_the_connections_of_one_client() -> None:
    connections = Connections(200, 20)

    assert admitted(connections, *((f"2001:db8::{n:x}", 25, 0, 0) for n in range(200))) == 20
    assert admitted(connections, ("2001:db8:0:1::1", 25, 0, 0), ("192.0.2.1", 25)) == 2
    assert admitted(connections, *[("::ffff:192.0.2.1", 25, 0, 0)] * 30) == 19
    # Mail servers of ours in front bring everybody's mail from one address.
    assert admitted(connections, *[("127.0.0.1", 25)] * 50, *[("::1", 25, 0, 0)] * 50, *[""] * 30) == 130
    for connection in list(connections.open):
        connections.gone(connection)
        connections.gone(connection)
    assert admitted(connections, *[("192.0.2.1", 25)] * 30) == 20
    assert connections._numbers == {"192.0.2.1": 20}


def test_who_is_in_front_is_a_setting(settings: Settings) -> None:
    assert [limited_client(client) for client in ("127.0.0.1", "local", "10.1.2.3", "2001:db8::5")] == [
        "",
        "",
        "10.1.2.3",
        "2001:db8::/64",
    ]
    settings.MAIL_TRUSTED_CLIENTS = ["10.0.0.0/8", "2001:db8::/64"]
    assert [limited_client(client) for client in ("127.0.0.1", "local", "10.1.2.3", "2001:db8::5")] == [
        "127.0.0.1",
        "local",
        "",
        "",
    ]


class Postfix:
    """Asks the policy service, as Postfix does for its clients."""

    def __init__(self, place: Place) -> None:
        self.socket = socket.create_connection(place, 20)
        self.stream = self.socket.makefile("rb")

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def ask(self, recipient: str, client: str | None = "192.0.2.1", **more: str) -> str:
        attributes = {"request": "smtpd_access_policy", "protocol_state": "RCPT", "recipient": recipient}
        if client is not None:
            attributes["client_address"] = client
        lines = [f"{name}={value}" for name, value in (attributes | more).items()]
        self.socket.sendall("\n".join([*lines, "", ""]).encode())
        answer = self.stream.readline().decode().rstrip("\n").removeprefix("action=")
        assert self.stream.readline() == b"\n"
        return answer


@pytest.fixture
def policy(open_doors: Open) -> Iterator[Callable[..., Postfix]]:
    """Opens the policy service with these settings, and asks it."""
    with ExitStack() as stack:

        def opened(**options: object) -> Postfix:
            postfix = Postfix(open_doors(**options)["policy"])
            stack.callback(postfix.close)
            return postfix

        yield opened


TOO_MANY = "450 4.7.1 Too many unknown recipients, try again later"
GUESSES = [f"github.guess{number}@example.com" for number in range(7)]


@pytest.mark.parametrize(
    ("clients", "another"),
    [
        (["192.0.2.1"] * 7, "192.0.2.2"),
        ([f"2001:db8::{n}" for n in range(7)], "2001:db8:0:1::1"),
        (["unknown", "", None, "x", "unknown", "", None], "192.0.2.2"),
    ],
)
def test_postfix_clients_that_guess_are_told_to_come_later(
    policy: Callable[..., Postfix], alias: Alias, clients: list[str | None], another: str
) -> None:
    postfix = policy(MAIL_UNKNOWN_PER_CLIENT=5)

    answers = [postfix.ask(recipient, client) for recipient, client in zip(GUESSES, clients, strict=True)]

    assert answers == [UNKNOWN] * 5 + [TOO_MANY] * 2
    alias.disable()
    assert postfix.ask(alias.address, clients[0]) == TOO_MANY
    alias.enable()
    # The same for what is there: nothing can be learned any more.
    assert postfix.ask(alias.address, clients[0]) == TOO_MANY
    assert postfix.ask("bob@elsewhere.test", clients[0]) == "DUNNO"
    assert postfix.ask(alias.address, clients[0], protocol_state="DATA") == "DUNNO"
    assert postfix.ask(alias.address, another) == "DUNNO"
    blocks.write()
    alias.refresh_from_db()
    assert alias.blocks == 0


def test_people_who_have_signed_in_count_as_themselves(policy: Callable[..., Postfix], alias: Alias) -> None:
    postfix = policy(MAIL_UNKNOWN_PER_CLIENT=2, MAIL_TRUSTED_CLIENTS=["10.0.0.0/8"])

    mallory = [postfix.ask(each, "10.0.0.1", sasl_username="mallory") for each in GUESSES[:3]]

    assert mallory == [UNKNOWN, UNKNOWN, TOO_MANY]
    assert postfix.ask(alias.address, "192.0.2.1", sasl_username="mallory") == TOO_MANY
    assert postfix.ask(alias.address, "10.0.0.1", sasl_username="alice") == "DUNNO"
    # A webmail or filter in front is many people.
    assert {postfix.ask(each, "10.0.0.1") for each in GUESSES} == {UNKNOWN}


def test_guesses_beside_mailboxes_count_too(policy: Callable[..., Postfix], example_com: Domain) -> None:
    Domain.objects.filter(pk=example_com.pk).update(is_shared=True)
    postfix = policy(MAIL_UNKNOWN_PER_CLIENT=2)

    # Postfix itself refuses them, by its own maps.
    assert [postfix.ask(each) for each in GUESSES[:3]] == ["DUNNO", "DUNNO", TOO_MANY]


def test_a_day_has_its_own_limit_over_both_doors(
    open_doors: Open, alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mail.server.limits.SLOW_MAX", 2)
    places = open_doors(MAIL_UNKNOWN_PER_CLIENT=0, MAIL_UNKNOWN_PER_DAY=2)
    postfix = Postfix(places["policy"])
    with Client(places["smtp"]) as client:
        client.say(b"EHLO x.test\r\n")
        client.say(b"MAIL FROM:<bob@sender.test>\r\n")
        assert client.say(b"RCPT TO:<guess@example.com>\r\n") == UNKNOWN.encode()
    assert postfix.ask("guess@example.com", STRANGER) == UNKNOWN
    assert postfix.ask(alias.address, STRANGER) == TOO_MANY
    with Client(places["smtp"]) as client:
        client.say(b"EHLO x.test\r\n")
        client.say(b"MAIL FROM:<bob@sender.test>\r\n")
        assert client.say(b"RCPT TO:<%b>\r\n" % alias.address.encode())[:3] == b"421"
    postfix.close()


def test_processes_share_the_limit(settings: Settings) -> None:
    settings.MAIL_PROCESSES = 4
    settings.MAIL_UNKNOWN_PER_CLIENT, settings.MAIL_UNKNOWN_PER_DAY = 50, 0
    doors = Doors({}, Hop())
    doors.lookups.close()
    doors.ledger.close()

    assert (doors.unknown_limit.limit, doors.unknown_limit.limit_per_day) == (13, 0)


def test_after_a_day_of_guesses_a_client_has_few(monkeypatch: pytest.MonkeyPatch) -> None:
    limit, now = UnknownRecipientLimit(50, 500), [1000.0]
    monkeypatch.setattr("mail.server.limits.time.monotonic", lambda: now[0])

    def guesses(seconds: int) -> int:
        """How many addresses the client learns of, if it asks without end."""
        learned, until = 0, now[0] + seconds
        while now[0] < until:
            if not limit.is_over("192.0.2.1"):
                limit.count("192.0.2.1")
                learned += 1
            now[0] += 1
        return learned

    assert guesses(600) == 50
    assert guesses(86_400 - 600) == 450 + 134 * 5
    # Then a day begins anew.
    assert guesses(600) == 50


def test_a_large_network_of_ipv6_counts_for_four_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    limit, connections = UnknownRecipientLimit(2), Connections(200, 5)
    clients = [f"2001:db8:7:{n:x}::1" for n in range(60)]

    asked = 0
    for client in map(limited_client, clients):
        if not limit.is_over(client):
            limit.count(client)
            asked += 1

    assert asked == 8
    assert admitted(connections, *((client, 25, 0, 0) for client in clients)) == 20
    for connection in list(connections.open):
        connections.gone(connection)
    assert not connections._numbers


@pytest.mark.parametrize("kind", ["disabled", "deleted", "unknown"])
def test_a_blocked_alias_costs_what_an_unknown_address_costs(
    alias: Alias,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    monkeypatch.setattr("mail.delivery.blocks.DELAY", (0.3, 0.3))
    address = "nobody@example.com" if kind == "unknown" else alias.address
    alias.disable() if kind == "disabled" else alias.soft_delete()
    resolve("x@example.com")

    # The address; nothing is written before the answer, nor just after it.
    with django_assert_num_queries(1):
        assert verdict(resolve(address), "bob@sender.test").refusal == UNKNOWN
    assert decide(resolve(address), "bob@sender.test").refusal == UNKNOWN

    assert not Activity.objects.exists()
    blocks.write()
    alias.refresh_from_db()
    assert alias.blocks == Activity.objects.filter(event="block").count() == 2 * (kind != "unknown")


def test_whoever_writes_the_last_blocks_leaves_no_connection_behind(
    alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = Blocks()
    monkeypatch.setattr(last, "_has_writer", True)
    last.count(alias.pk, "bob@sender.test")

    with ThreadPoolExecutor(1) as thread:
        thread.submit(last.write_last).result()
        left = thread.submit(lambda: connections["default"].connection).result()
        thread.submit(connections.close_all).result()

    assert left is None
    alias.refresh_from_db()
    assert alias.blocks == 1


def test_blocks_wait_for_the_database(alias: Alias, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mail.delivery.blocks.DELAY", (30, 30))
    monkeypatch.setattr("mail.delivery.blocks.GATHERED_MAX", 2)
    waiting = Blocks()
    monkeypatch.setattr(waiting, "_has_writer", True)
    for _ in range(3):
        waiting.count(alias.pk, "bob@sender.test")

    def away(*_args: object) -> None:
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr("mail.delivery.blocks._write", away)
        with pytest.raises(OperationalError):
            waiting.write()
    waiting.write()
    waiting.write()

    alias.refresh_from_db()
    # Of the third, only the number is kept.
    assert (alias.blocks, Activity.objects.count()) == (3, 2)


def test_the_last_blocks_are_written_when_the_doors_close(
    open_doors: Open, alias: Alias, hop: Hop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mail.delivery.blocks.DELAY", (2, 2))
    alias.disable()
    with running_doors(hop, "policy") as places:
        postfix = Postfix(places["policy"])
        assert postfix.ask(alias.address) == UNKNOWN
        postfix.close()

    alias.refresh_from_db()
    assert alias.blocks == 1
