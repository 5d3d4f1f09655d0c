"""Whom an alias refuses: the same answer at every door, exact figures, no cost for who refuses nobody."""

import asyncio
import smtplib
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Admits, Alias
from contacts.book import add_contact
from contacts.models import Contact
from mail.delivery import record
from mail.delivery.blocks import blocks
from mail.delivery.entries import Redirected, Settled
from mail.delivery.handover import Answer, Head, Message
from mail.delivery.lookups import Lookups
from mail.delivery.message import received_at
from mail.delivery.resolve import resolve
from mail.models import Activity, Event
from mail.server.limits import UnknownRecipientLimit
from mail.server.recipients import Decision, answer_for
from tests.rig.mail_doors import Hop, Process, closed_after, running_doors
from tests.rig.milter_client import connected, words

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN = "550 5.1.1 User unknown"
LATER = "450 4.2.1 Mailbox disabled, try again later"


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


@pytest.fixture
def bob(alias: Alias) -> Contact:
    contact, _existed = add_contact(alias, "Bob <bob@shop.test>")
    return contact


@pytest.fixture(autouse=True)
def _no_blocks_of_other_tests(db: None) -> Iterator[None]:
    """Each test's blocks are written while their aliases are there."""
    yield
    blocks.write()


@pytest.fixture
def hop() -> Hop:
    return Hop()


@pytest.fixture
def process(hop: Hop, settings: Settings) -> Iterator[Process]:
    settings.MAIL_HOSTNAME = "mx.example.com"
    with Process(hop) as running:
        yield running


def message(
    author: str, sender: str = "bounces@news.test", *, received: str = "", is_queued: bool = False
) -> Message:
    top = f"Received: from x by mx.example.com; {received}\r\n" if received else ""
    content = f"{top}From: {author}\r\nSubject: Hi\r\n\r\nHello\r\n".encode()
    return Message(sender, content, "x", "SMTP", is_queued=is_queued)


def decision(address: str, sender: str) -> Decision | None:
    """What Postfix hears at RCPT, from the policy service and from the milter."""

    async def ask() -> Decision | None:
        lookups = Lookups()
        with closed_after(lookups):
            return await answer_for(address, sender, "192.0.2.1", UnknownRecipientLimit(50), lookups)

    return asyncio.run(ask())


def redirected(process: Process, alias: Alias, author: str, sender: str = "bounces@news.test") -> object:
    """What the milter says at the end of the message."""
    head = Head(sender, [("from", author)], "x", "MILTER")
    return process.runner.run(process.forwarder.redirect(head, resolve(alias.address), alias.pk))


def figures(contact: Contact) -> tuple[int, int, int, int]:
    """Of the contact, forwards and blocks; and of its alias."""
    blocks.write()
    contact.refresh_from_db()
    alias = Alias.objects.get(pk=contact.alias_id)
    return contact.forwards, contact.blocks, alias.forwards, alias.blocks


def test_a_blocked_contacts_envelope_is_refused_at_every_door(bob: Contact, alias: Alias, hop: Hop) -> None:
    bob.block()

    with running_doors(hop, "smtp", "lmtp") as places:
        with smtplib.SMTP(*places["smtp"], timeout=20) as smtp:
            smtp.ehlo()
            smtp.mail("BOB@Shop.test")
            refused = smtp.rcpt(alias.address)
            assert refused == smtp.rcpt("nobody@example.com") == (550, b"5.1.1 User unknown")
            smtp.rset()
            smtp.mail("eve@shop.test")
            assert smtp.rcpt(alias.address)[0] == 250
        with smtplib.LMTP(*places["lmtp"], timeout=20) as lmtp:
            # Postfix has queued it, and would report to whoever is named as the sender.
            assert lmtp.sendmail("bob@shop.test", [alias.address], b"From: x@y.test\r\n\r\nHi") == {}
    postfix = decision(alias.address, "bob@shop.test")

    assert postfix is not None
    assert (postfix.refusal, postfix.is_guess) == (UNKNOWN, True)
    assert hop.sent == []
    assert figures(bob) == (0, 3, 0, 3)
    assert {row.contact_id for row in Activity.objects.filter(event=Event.BLOCK)} == {bob.pk}


def test_a_blocked_author_is_refused_at_the_end_of_the_data(
    bob: Contact, alias: Alias, hop: Hop, process: Process
) -> None:
    other = issue(owner=alias.owner)
    resolution = resolve(alias.address)
    assert process.take(message("Bob <bob@shop.test>"), resolution) is Answer.DONE
    bob.block()
    resolution = resolve(alias.address)

    assert process.take(message("Bob <BOB@shop.test>"), resolution).value == UNKNOWN
    assert redirected(process, alias, "bob@shop.test").value == UNKNOWN  # type: ignore[attr-defined]
    assert process.take(message("Eve <eve@shop.test>"), resolution) is Answer.DONE
    # He is blocked for one alias.
    assert process.take(message("Bob <bob@shop.test>"), resolve(other.address)) is Answer.DONE

    assert len(hop.sent) == 3
    assert figures(bob) == (1, 2, 2, 2)
    bob.unblock()
    assert process.take(message("Bob <bob@shop.test>", "other@x.test"), resolve(alias.address)) is Answer.DONE
    assert figures(bob) == (2, 2, 3, 2)


def test_after_the_queue_a_blocked_author_makes_no_report(bob: Contact, alias: Alias, hop: Hop) -> None:
    bob.block()

    with running_doors(hop, "lmtp") as places, smtplib.LMTP(*places["lmtp"], timeout=20) as lmtp:
        assert lmtp.sendmail("x@y.test", [alias.address], b"From: bob@shop.test\r\n\r\nHi") == {}

    assert hop.sent == []
    assert figures(bob) == (0, 1, 0, 1)


def test_the_milter_says_it_as_postfix_does(bob: Contact, alias: Alias, settings: Settings) -> None:
    bob.block()
    with running_doors(Hop(), "milter") as places:
        mta = connected(places["milter"])
        mta.mail("bounces@news.test")
        mta.rcpt(alias.address)
        answers = mta.end({"From": "bob@shop.test"})
        mta.close()

    said = f"550 5.1.1 <{alias.address}>: Recipient address rejected: User unknown"
    assert [words(answer) for answer in answers] == [said]


def test_what_a_contact_sends_is_counted_exactly(
    bob: Contact, alias: Alias, alice: User, process: Process, hop: Hop
) -> None:
    resolution = resolve(alias.address)
    for number in range(5):
        process.take(message("Bob <bob@shop.test>", f"x{number}@shop.test"), resolution)
    again = message("Bob <bob@shop.test>", "x0@shop.test")
    assert process.take(again, resolution) is Answer.DONE
    assert redirected(process, alias, "bob@shop.test") is not None
    process.take(message("Eve <eve@shop.test>"), resolution)

    assert figures(bob) == (6, 0, 7, 0)
    assert abs(bob.last_forward_at - timezone.now()) < timedelta(minutes=1)
    assert Activity.objects.filter(event=Event.FORWARD, contact=bob).count() == 6


@pytest.mark.parametrize("admits", [Admits.KNOWN, Admits.KNOWN_LATER])
def test_an_alias_for_people_one_knows_keeps_strangers_out_until_the_owner_says_yes(
    bob: Contact, alias: Alias, process: Process, hop: Hop, admits: Admits
) -> None:
    Alias.objects.filter(pk=alias.pk).update(admits=admits)
    resolution = resolve(alias.address)
    expected = UNKNOWN if admits is Admits.KNOWN else LATER
    stranger = message("Eve <eve@evil.test>")

    for _try in range(2):
        assert process.take(stranger, resolution).value == expected
    assert redirected(process, alias, "eve@evil.test").value == expected  # type: ignore[attr-defined]
    assert process.take(message("Bob <bob@shop.test>"), resolution) is Answer.DONE
    eve = Contact.objects.waiting_for_owner().get()
    assert (eve.address, figures(eve)[1]) == ("eve@evil.test", 3 if admits is Admits.KNOWN else 0)
    assert len(hop.sent) == 1

    eve.admit()
    assert process.take(stranger, resolution) is Answer.DONE
    assert len(hop.sent) == 2
    assert figures(eve)[0] == 1
    eve.block()
    assert process.take(message("Eve <eve@evil.test>", "x@y.test"), resolution).value == UNKNOWN


def test_who_has_no_address_to_be_known_by_is_refused(alias: Alias, process: Process, hop: Hop) -> None:
    Alias.objects.filter(pk=alias.pk).update(admits=Admits.KNOWN_LATER)

    for author, sender in (("nobody", ""), ("a@b.test, ", ""), ("x", "y@[192.0.2.1]")):
        assert process.take(message(author, sender), resolve(alias.address)).value in {UNKNOWN, LATER}
    assert hop.sent == []
    assert not Contact.objects.filter(address="nobody").exists()


def test_a_strangers_mail_does_not_wait_in_our_own_queue_until_it_is_reported(
    alias: Alias, process: Process, hop: Hop
) -> None:
    Alias.objects.filter(pk=alias.pk).update(admits=Admits.KNOWN_LATER)
    resolution = resolve(alias.address)

    def after(days: float, *, is_queued: bool = True) -> str:
        received = format_datetime(timezone.now() - timedelta(days=days))
        return process.take(
            message("eve@evil.test", received=received, is_queued=is_queued), resolution
        ).value

    assert after(3.9) == LATER
    assert after(4.1) == UNKNOWN
    # Its own server's queue is its own business, and its date may be anything.
    assert after(4.1, is_queued=False) == LATER


def test_the_date_of_the_last_hop_is_read_or_left() -> None:
    def read(*texts: str) -> object:
        return received_at([("received", text) for text in texts])

    assert str(
        read("by a; Thu, 26 Nov 2026 10:00:00 +0100 (CET)", "by b; Thu, 1 Jan 1970 00:00:00 +0000")
    ) == ("2026-11-26 10:00:00+01:00")
    assert str(read("by a; Thu, 26 Nov 2026 10:00:00 -0000")) == "2026-11-26 10:00:00+00:00"
    for text in ("", "by a", "by a; ", "by a; never", "by a; Thu, 99 Nov 2026 10:00:00 +0000"):
        assert read(text) is None
    assert read() is None


def test_who_refuses_nobody_pays_nothing(
    alias: Alias, process: Process, hop: Hop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unasked(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Lookups, "contact", unasked)

    assert process.take(message("Bob <bob@shop.test>"), resolve(alias.address)) is Answer.DONE
    assert decision(alias.address, "bob@shop.test") == (None, False, resolve(alias.address))
    # Contacts of whom none is blocked cost nothing at RCPT.
    add_contact(alias, "bob@shop.test")
    assert decision(alias.address, "bob@shop.test") == (None, False, resolve(alias.address))


def test_a_contact_that_has_gone_meanwhile_holds_up_nothing(bob: Contact, alias: Alias) -> None:
    home = alias.destination_addresses[0].pk
    blocks.count(alias.pk, "bob@shop.test", bob.pk)
    key = bob.pk
    bob.delete()

    record._write_all(
        [
            Settled(alias.pk, home, "digest", "", "bob@shop.test", contact_id=key),
            Redirected(alias.pk, home, "bob@shop.test", float("inf"), key),
        ]
    )
    blocks.write()

    alias.refresh_from_db()
    assert (alias.forwards, alias.blocks) == (2, 1)
    assert set(Activity.objects.values_list("contact", "sender")) == {(None, "bob@shop.test")}


@pytest.mark.postgresql
@pytest.mark.parametrize("number", [1, 5])
def test_any_number_of_contacts_takes_as_many_statements_as_one(
    alias: Alias, django_assert_num_queries: DjangoAssertNumQueries, number: int
) -> None:
    home = alias.destination_addresses[0].pk
    keys = [add_contact(alias, f"b{each}@shop.test")[0].pk for each in range(number)]

    # Six as without contacts; those that are there are held and counted, in one each.
    with django_assert_num_queries(8):
        record._write_all([Settled(alias.pk, home, str(key), "", "b@shop.test", "", key) for key in keys])
    for key in keys:
        blocks.count(alias.pk, "b@shop.test", key)
    with django_assert_num_queries(6):
        blocks.write()

    assert set(Contact.objects.values_list("forwards", "blocks")) == {(1, 1)}
