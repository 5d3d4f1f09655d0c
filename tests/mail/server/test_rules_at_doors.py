"""Rules at the doors that take whole messages: each recipient has the answer of its own owner's."""

import smtplib
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from mail.delivery.blocks import blocks
from rules.models import Rule
from tests.rig.mail_doors import Hop, running_doors
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
