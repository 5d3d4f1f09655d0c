"""A next hop that hangs while mail is sent from an alias: the sender is told to try again.

Nothing is sent twice, whichever process the next try comes to.
"""

import asyncio
import smtplib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from aliases.models import Alias
from mail.delivery.message import Octets
from mail.delivery.next_hop import Outcome
from mail.models import Delivery
from tests.rig.mail_doors import Hop, running_doors
from tests.rig.mail_process import is_soon

pytestmark = pytest.mark.django_db(transaction=True)

Place = tuple[str, int]
FRIENDS = [f"friend{number}@far.test" for number in range(4)]


@dataclass
class SlowHop(Hop):
    """Takes each message only once it may."""

    may_take: threading.Event = field(default_factory=threading.Event)
    tried: list[str] = field(default_factory=list)

    async def send(self, sender: str, recipient: str, message: Octets, **more: Any) -> Outcome:
        self.tried.append(recipient)
        await asyncio.to_thread(self.may_take.wait, 30)
        return await super().send(sender, recipient, message, **more)


@pytest.fixture
def hop() -> Iterator[SlowHop]:
    hop = SlowHop()
    yield hop
    hop.may_take.set()


@pytest.fixture
def places(hop: SlowHop, alias: Alias, settings: Settings) -> Iterator[list[Place]]:
    """The submission doors of two processes."""
    settings.MAIL_HOSTNAME = "mx.example.com"
    with ExitStack() as stack:
        yield [stack.enter_context(running_doors(hop, "submission"))["submission"] for _ in range(2)]


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mail.delivery.record.LEASE", timedelta(seconds=0.6))


@dataclass
class Program:
    """Alice's mail program, signed in, with a message that has a Message-ID."""

    server: smtplib.SMTP
    alias: str

    def send(self, *recipients: str) -> int:
        self.begin(*recipients)
        return self.server.getreply()[0]

    def begin(self, *recipients: str) -> None:
        """Send it without waiting for the answer."""
        self.server.mail(self.alias)
        for recipient in recipients:
            self.server.rcpt(recipient)
        self.server.docmd("DATA")
        self.server.send(f"From: {self.alias}\r\nMessage-ID: <1@home.test>\r\n\r\nHello\r\n.\r\n")


Connect = Callable[[int], Program]


@pytest.fixture
def connect(places: list[Place], alias: Alias, secret: str) -> Iterator[Connect]:
    """Her program at one of the processes."""
    with ExitStack() as stack:

        def connected(process: int) -> Program:
            server = smtplib.SMTP(*places[process], timeout=20)
            stack.callback(server.close)
            server.login("alice@example.com", secret)
            return Program(server, alias.address)

        yield connected


@pytest.mark.parametrize("other", [0, 1], ids=["the same process", "another process"])
@pytest.mark.usefixtures("short_lease")
def test_who_hangs_up_and_tries_again_does_not_send_twice(connect: Connect, hop: SlowHop, other: int) -> None:
    first = connect(0)
    first.begin(FRIENDS[0])
    assert is_soon(lambda: len(hop.tried) == 1)
    first.server.close()
    began = Delivery.objects.get().moment
    # Beyond the time after which a process that says nothing is believed to be gone.
    assert is_soon(lambda: Delivery.objects.get().moment - began > timedelta(seconds=0.7))

    assert connect(other).send(FRIENDS[0]) == 451
    assert len(hop.tried) == 1

    hop.may_take.set()
    assert is_soon(lambda: Delivery.objects.get().accepted is True)
    assert connect(other).send(FRIENDS[0]) == 250
    assert [recipient for _sender, recipient, _content in hop.sent] == [FRIENDS[0]]


def test_after_a_time_no_other_copy_is_begun_and_the_next_try_sends_the_rest(
    connect: Connect, hop: SlowHop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mail.delivery.reply.SEND_TIME", 0.3)
    program = connect(0)
    program.begin(*FRIENDS)
    assert is_soon(lambda: len(hop.tried) == 1)
    threading.Timer(0.5, hop.may_take.set).start()

    assert program.server.getreply()[0] == 451
    assert hop.tried == FRIENDS[:1]

    assert program.send(*FRIENDS) == 250
    assert [recipient for _sender, recipient, _content in hop.sent] == FRIENDS
