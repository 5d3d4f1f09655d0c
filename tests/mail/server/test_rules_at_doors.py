"""Rules at the doors that take whole messages: each recipient has the answer of its own owner's."""

import asyncio
import smtplib
import socket
import threading
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from mail.delivery.blocks import blocks
from mail.delivery.lookups import Lookups
from mail.delivery.next_hop import Outcome, Refused
from mail.delivery.resolve import resolve
from mail.delivery.screening import with_whole_message
from mail.models import Delivery
from rules.models import Rule
from tests.rig.mail_doors import Hop, running_doors
from tests.rig.mail_process import is_soon
from tests.rig.replying import Lmtp, deliver, letter
from tests.rig.ruling import rule

pytestmark = pytest.mark.django_db(transaction=True)

EVE = "eve@far.test"


@pytest.fixture
def theirs(example_com: Domain, mallory: User) -> Alias:
    example_com.grant(mallory)
    return issue(owner=mallory)


@pytest.fixture
def ours(alice: User) -> Alias:
    return issue(owner=alice)


def spam(to: str) -> bytes:
    return letter(to, From=EVE, Subject="spam")


def figures(alias: Alias) -> Any:
    blocks.write()
    return Alias.objects.values_list("forwards", "blocks").get(pk=alias.pk)


def test_over_smtp_the_sender_hears_what_a_blocked_one_hears(
    ours: Alias, alice: User, mallory: User, theirs: Alias, settings: Settings
) -> None:
    rule(alice, blocks=True)
    hop = Hop()

    with running_doors(hop, "smtp") as places:
        answer = deliver(places["smtp"], smtplib.SMTP, ours.address, spam(ours.address), EVE)
        other = deliver(places["smtp"], smtplib.SMTP, theirs.address, spam(theirs.address), EVE)

    assert answer == (550, b"5.1.1 User unknown")
    assert other[0] == 250
    assert [recipient for _sender, recipient, _content in hop.sent] == [mallory.email]
    assert (figures(ours), figures(theirs)) == ((0, 1), (1, 0))


def test_over_lmtp_a_message_for_two_people_is_judged_by_the_rules_of_each(
    ours: Alias, alice: User, mallory: User, theirs: Alias
) -> None:
    """What has been queued is dropped: a refusal would be a bounce to whoever is named as the sender."""
    rule(alice, blocks=True)
    rule(mallory, subject="[M] {{subject}}")
    hop = Hop()

    with running_doors(hop, "lmtp") as places, Lmtp(*places["lmtp"], timeout=20) as client:
        client.ehlo()
        client.mail(EVE)
        client.rcpt(ours.address)
        client.rcpt(theirs.address)
        answers = [client.data(spam(ours.address)), client.getreply()]

    assert [code for code, _words in answers] == [250, 250]
    ((_sender, recipient, content),) = hop.sent
    assert recipient == mallory.email
    assert b"Subject: [M] spam\r\n" in content
    assert (figures(ours), figures(theirs)) == ((0, 1), (1, 0))
    assert list(Rule.objects.order_by("pk").values_list("applied", flat=True)) == [1, 1]


def test_a_huge_header_is_judged_like_any_other(ours: Alias, alice: User) -> None:
    rule(alice, blocks=True)
    content = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 900) for number in range(250)) + spam(ours.address)
    hop = Hop()

    with running_doors(hop, "smtp") as places:
        answer = deliver(places["smtp"], smtplib.SMTP, ours.address, content, EVE)

    assert answer[0] == 550
    assert hop.sent == []


class Slow(Hop):
    """A next hop that answers once the sender has hung up."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(**answers)
        self.may_answer = threading.Event()

    async def send(self, *asked: Any, **more: Any) -> Outcome:
        while not self.may_answer.is_set():
            await asyncio.sleep(0.01)
        return await super().send(*asked, **more)


def is_off(alias: Alias) -> bool:
    return not Alias.objects.get(pk=alias.pk).enabled


def hand_over_and_hang_up(hop: Slow, place: tuple[str, int], to: str, content: bytes) -> None:
    """Hand a message over, and hang up before the answer to it."""
    with smtplib.SMTP(*place, timeout=20) as client:
        client.ehlo()
        client.mail(EVE)
        assert client.rcpt(to)[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(content + b".\r\n")
        assert client.sock is not None
        client.sock.shutdown(socket.SHUT_RDWR)
        client.close()
    # Whoever is greeted after that comes when the door has seen it.
    with smtplib.SMTP(*place, timeout=20):
        hop.may_answer.set()


def test_a_message_that_ended_its_alias_is_answered_again_as_before(ours: Alias, alice: User) -> None:
    """A refusal would have its sender's server report what has arrived as a failure."""
    rule(alice, disables=True)
    hop, first = Slow(), spam(ours.address)

    with running_doors(hop, "smtp", "lmtp") as places:
        hand_over_and_hang_up(hop, places["smtp"], ours.address, first)
        assert is_soon(lambda: is_off(ours))
        other = [
            deliver(places[door], kind, ours.address, first + b"More\r\n", EVE)
            for door, kind in (("smtp", smtplib.SMTP), ("lmtp", Lmtp))
        ]
        again = deliver(places["smtp"], smtplib.SMTP, ours.address, first, EVE)
        # This time the answer was read.
        assert is_soon(lambda: not Delivery.objects.exclude(alias=None).exists())
        with smtplib.SMTP(*places["smtp"], timeout=20) as client:
            client.ehlo()
            client.mail(EVE)
            refused = client.rcpt(ours.address)

    # After it was queued, it is dropped.
    assert [code for code, _words in other] == [550, 250]
    assert again[0] == 250
    assert refused == other[0] == (550, b"5.1.1 User unknown")
    assert len(hop.sent) == 1
    assert figures(ours) == (1, 3)


@pytest.mark.parametrize("sender", ["mallory@evil.test", "", "EVE+x@far.test"])
def test_a_stranger_hears_of_an_ended_alias_what_they_hear_of_none(
    ours: Alias, alice: User, sender: str
) -> None:
    """Nobody else may learn from the answer that there was an alias, as long as its message is remembered."""
    rule(alice, disables=True)
    hop = Slow()

    with running_doors(hop, "smtp") as places:
        hand_over_and_hang_up(hop, places["smtp"], ours.address, spam(ours.address))
        assert is_soon(lambda: is_off(ours))
        answers = []
        for address in (ours.address, f"never.{ours.address}"):
            with smtplib.SMTP(*places["smtp"], timeout=20) as client:
                client.ehlo()
                client.mail(sender)
                answers.append(client.rcpt(address))

    assert answers == [(550, b"5.1.1 User unknown")] * 2


def test_a_bounce_that_ends_an_alias_opens_it_to_nobody(ours: Alias, alice: User) -> None:
    rule(alice, disables=True)

    with running_doors(Hop(), "smtp") as places:
        first = deliver(places["smtp"], smtplib.SMTP, ours.address, spam(ours.address), "")
        assert is_soon(lambda: is_off(ours))
        again = deliver(places["smtp"], smtplib.SMTP, ours.address, spam(ours.address), "")

    assert (first[0], again) == (250, (550, b"5.1.1 User unknown"))
    assert not Delivery.objects.filter(alias=None).exists()


def test_what_was_refused_before_its_alias_ended_is_refused_again(ours: Alias, alice: User) -> None:
    rule(alice, disables=True)
    hop = Slow(answers={alice.email: Refused("5.7.1")})

    with running_doors(hop, "smtp") as places:
        hand_over_and_hang_up(hop, places["smtp"], ours.address, spam(ours.address))
        assert is_soon(lambda: is_off(ours))
        again = deliver(places["smtp"], smtplib.SMTP, ours.address, spam(ours.address), EVE)

    assert again == (550, b"5.7.1 Message refused")


@pytest.mark.parametrize("has_rule", [True, False])
def test_only_of_a_blocked_alias_whose_owner_has_rules_more_is_asked(
    ours: Alias, alice: User, has_rule: bool
) -> None:
    if has_rule:
        rule(alice, disables=True)
    receiving = resolve(ours.address)
    ours.disable()
    asked: list[tuple[int, str]] = []

    class Watched(Lookups):
        def __init__(self) -> None:
            """Without a thread."""

        async def has_ended(self, alias_id: int, sender: str) -> bool:
            asked.append((alias_id, sender))
            return False

    for found in (receiving, resolve(ours.address)):
        assert asyncio.run(with_whole_message(Watched(), found, EVE)) == found

    assert asked == ([(ours.pk, EVE)] if has_rule else [])
