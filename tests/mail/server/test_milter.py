"""The milter door: what Postfix asks and hears, and what is written by then."""

import asyncio
import smtplib
import threading
import time
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import OperationalError
from django.urls import reverse
from django.utils import timezone
from kilter.protocol import messages as kilter
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from contacts.book import add_contact
from domains.models import Domain
from mail.delivery import record
from mail.delivery.blocks import blocks
from mail.delivery.database import TooLate
from mail.delivery.forward import Forwarder, Redirection
from mail.delivery.handover import Head
from mail.delivery.lookups import Lookups
from mail.delivery.message import loop_mark
from mail.delivery.next_hop import Outcome
from mail.delivery.record import Ledger
from mail.delivery.resolve import our_domains, resolve
from mail.delivery.return_path import read_return_path
from mail.delivery.vouching import vouched_client
from mail.models import Activity, Delivery, PausedDestination
from tests.rig.mail_doors import Hop, closed_after, running_doors
from tests.rig.milter_client import ALL_ACTIONS, ALL_STEPS, FIELDS, Mta, connected, words
from tests.rig.ruling import rule

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def anonmail(settings: Settings, db: None) -> None:
    settings.MAIL_POSTMASTER = "boss@boss.test"
    settings.MAIL_HOSTNAME = "mx.example.com"
    settings.SITE_URL = "https://anonmail.test"
    # Reading all URLs takes its time; a mail server has done so when it starts (system checks).
    reverse("alias-unsubscribe", args=["x"])


@pytest.fixture
def mta(anonmail: None) -> Iterator[Mta]:
    with running_doors(Hop(), "milter") as places:
        made = connected(places["milter"])
        yield made
        made.close()


def unknown(address: str) -> str:
    return f"550 5.1.1 <{address}>: Recipient address rejected: User unknown"


def home_of(user: User, *emails: str) -> list[str]:
    wanted = emails or (f"{user.email.partition('@')[0]}@home.test",)
    for email in wanted:
        EmailAddress.objects.get_or_create(user=user, email=email, defaults={"verified": True})
    return list(wanted)


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice, destinations=home_of(alice))


def forwards(alias: Alias) -> int:
    return Alias.objects.values_list("forwards", flat=True).get(pk=alias.pk)


def test_it_asks_for_what_it_needs_and_no_more(mta: Mta) -> None:
    answer = mta.negotiate()

    steps = kilter.ProtocolFlags
    assert answer.version == 6
    assert steps.NO_BODY in answer.protocol_flags
    assert steps.NO_HEADERS not in answer.protocol_flags
    wanted = {stage: list(names) for stage, names in answer.macros.items() if names}
    assert wanted == {
        kilter.Stage.ENVELOPE_FROM: ["{auth_authen}"],
        kilter.Stage.ENVELOPE_RECIPIENT: ["{rcpt_addr}"],
    }


def test_a_recipient_is_not_judged_by_the_macro_of_the_one_before(mta: Mta, alias: Alias) -> None:
    nobody = "nobody@example.com"
    mta.mail()
    assert mta.rcpt(alias.address) == ""

    mta.say(kilter.EnvelopeRecipient(f"<{nobody}>".encode()))

    assert words(mta.hear()) == unknown(nobody)


@pytest.mark.parametrize("offered", [(2, ALL_ACTIONS, ALL_STEPS), (6, 0, ALL_STEPS), (6, ALL_ACTIONS, 0)])
def test_an_older_protocol_is_not_spoken(mta: Mta, offered: tuple[int, int, int]) -> None:
    version, actions, steps = offered
    mta.say(kilter.Negotiate(version, kilter.ActionFlags(actions), kilter.ProtocolFlags(steps)))

    assert mta.hear() is None


def test_a_message_to_an_alias_goes_on_under_a_new_envelope(mta: Mta, alias: Alias) -> None:
    mta.mail()
    assert mta.rcpt(alias.address) == ""

    *changes, last = mta.end()

    assert isinstance(last, kilter.Continue)
    removed, added, sender, *fields = changes
    assert removed == kilter.RemoveRecipient(f"<{alias.address}>")
    assert added == kilter.AddRecipient("<alice@home.test>")
    assert isinstance(sender, kilter.ChangeSender)
    tag = read_return_path(*sender.address[1:-1].split("@"), timezone.now())
    assert tag is not None
    assert tag.alias_id == alias.pk
    # Each goes above the one before.
    assert all(isinstance(field, kilter.InsertHeader) and field.index == 0 for field in fields)
    assert [field.name for field in reversed(fields)] == [
        "Received",
        "X-Anonmail-Alias",
        "X-Anonmail-Loop",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
    ]
    # Written before the answer.
    assert forwards(alias) == 1
    activity = Activity.objects.get()
    assert (activity.event, activity.sender) == ("forward", "bob@sender.test")
    assert activity.destination is not None
    assert activity.destination.email == "alice@home.test"
    assert not Delivery.objects.exists()


def test_a_message_that_comes_again_is_never_swallowed(mta: Mta, alias: Alias) -> None:
    """Postfix may have failed to queue it after our answer."""
    tags = set()
    for _try in range(3):
        mta.mail()
        mta.rcpt(alias.address)
        changes = mta.end()
        assert kilter.AddRecipient("<alice@home.test>") in changes
        tags |= {change.address for change in changes if isinstance(change, kilter.ChangeSender)}

    assert forwards(alias) == Activity.objects.count() == 3
    assert len(tags) == 3


@pytest.mark.parametrize("sender", ["", " "])  # Postfix takes < > for it too.
def test_a_bounce_keeps_the_null_sender(mta: Mta, alias: Alias, sender: str) -> None:
    mta.mail(sender)
    mta.rcpt(alias.address)

    changes = mta.end()

    assert kilter.AddRecipient("<alice@home.test>") in changes
    assert not any(isinstance(change, kilter.ChangeSender) for change in changes)


def test_a_header_that_has_an_unsubscribe_field_gets_no_other(mta: Mta, alias: Alias) -> None:
    mta.mail()
    mta.rcpt(alias.address)

    changes = mta.end({**FIELDS, "List-Unsubscribe": "<mailto:x@sender.test>"})

    names = [change.name for change in changes if isinstance(change, kilter.InsertHeader)]
    assert names == ["X-Anonmail-Loop", "X-Anonmail-Alias", "Received"]


def goes_on_unchanged(mta: Mta, alias: Alias, *recipients: str, **fields: str) -> None:
    for recipient in recipients:
        assert mta.rcpt(recipient) == ""
    (answer,) = mta.end({**FIELDS, **fields})
    assert isinstance(answer, kilter.Continue)
    assert forwards(alias) == 0
    assert not Activity.objects.exists()


def test_several_recipients_go_on_unchanged(mta: Mta, alias: Alias, alice: User) -> None:
    mta.mail()
    goes_on_unchanged(mta, alias, alias.address, issue(owner=alice).address)


def test_the_same_alias_twice_goes_on_unchanged(mta: Mta, alias: Alias) -> None:
    mta.mail()
    goes_on_unchanged(mta, alias, alias.address, alias.address)


@pytest.mark.parametrize("other", ["someone@elsewhere.test", "postmaster@example.com"])
def test_what_is_no_alias_goes_on_unchanged(mta: Mta, alias: Alias, other: str) -> None:
    mta.mail()
    goes_on_unchanged(mta, alias, other)
    mta.mail()
    goes_on_unchanged(mta, alias, alias.address, other)


def test_several_destinations_go_on_unchanged(mta: Mta, alice: User) -> None:
    alias = issue(owner=alice, destinations=home_of(alice, "alice@home.test", "alice@work.test"))
    mta.mail()
    goes_on_unchanged(mta, alias, alias.address)


def test_a_paused_destination_goes_on_unchanged(mta: Mta, alias: Alias) -> None:
    PausedDestination.objects.create(destination=EmailAddress.objects.get(email="alice@home.test"))
    mta.mail()
    goes_on_unchanged(mta, alias, alias.address)


def test_a_destination_that_has_become_ours_goes_on_unchanged(mta: Mta, alias: Alias, alice: User) -> None:
    Domain.objects.create(name="home.test", anonmail_enabled=True)
    Alias.objects.filter(pk=issue(owner=alice).pk).update(address="alice@home.test")
    our_domains.forget()  # A new one is known within a second.
    mta.mail()
    goes_on_unchanged(mta, alias, alias.address)


def test_a_loop_goes_on_unchanged(mta: Mta, alias: Alias) -> None:
    mta.mail()
    goes_on_unchanged(mta, alias, alias.address, **{"X-Anonmail-Loop": loop_mark(alias.pk)})


def test_what_may_need_smtputf8_goes_on_unchanged(mta: Mta, alias: Alias) -> None:
    mta.mail("bøb@sender.test")
    goes_on_unchanged(mta, alias, alias.address)
    mta.mail()
    goes_on_unchanged(mta, alias, alias.address, Subject="Grüße")
    # Not even UTF-8, which Postfix passes on all the same.
    for name in FIELDS | {"X-Anonmail-Loop": "", "DKIM-Signature": "", "List-Unsubscribe": ""}:
        mta.mail()
        goes_on_unchanged(mta, alias, alias.address, **{name: "\udcff"})


def test_a_recipient_in_another_form_than_postfixs_goes_on_unchanged(mta: Mta, alias: Alias) -> None:
    mta.mail()
    assert mta.rcpt(alias.address, written=f"<@a.test:{alias.address}>") == ""
    goes_on_unchanged(mta, alias)


@pytest.mark.parametrize("form", ["<{}>", "{}", "<@a.test:{}>"])
def test_the_client_is_written_down_however_a_reverse_address_is_written(
    mta: Mta, alias: Alias, form: str
) -> None:
    """Or a field that was signed for an earlier message of the owner's, in this one, would prove it."""
    contact, _existed = add_contact(alias, "bob@sender.test")
    mta.mail(user="mallory@sender.test")
    assert mta.rcpt(contact.reverse_address, written=form.format(contact.reverse_address)) == ""

    field, _go_on = mta.end()

    assert isinstance(field, kilter.InsertHeader)
    text = str(field.value, "ascii").strip()
    found = vouched_client([("x-anonmail-client", text)], contact.reverse_address)
    assert found.login == "mallory@sender.test"


@pytest.mark.parametrize("form", ["<{}>", "<@a.test:{}>"])
def test_a_tag_that_names_a_correspondent_waits_for_the_whole_message(
    mta: Mta, alias: Alias, form: str
) -> None:
    """Only that can prove that the owner has written it."""
    tagged = alias.address.replace("@", "+bob=sender.test@")
    mta.mail(user="mallory@sender.test")
    assert mta.rcpt(tagged, written=form.format(tagged)) == ""

    field, go_on = mta.end()

    assert isinstance(field, kilter.InsertHeader)
    text = str(field.value, "ascii").strip()
    assert vouched_client([("x-anonmail-client", text)], alias.address).login == "mallory@sender.test"
    assert isinstance(go_on, kilter.Continue)
    assert forwards(alias) == 0


def test_a_message_that_is_aborted_leaves_nothing(mta: Mta, alias: Alias, alice: User) -> None:
    mta.mail()
    mta.rcpt(issue(owner=alice).address)
    mta.say(kilter.Abort())
    mta.mail()
    mta.rcpt(alias.address)

    assert kilter.AddRecipient("<alice@home.test>") in mta.end()
    assert Activity.objects.get().alias == alias


def test_all_that_takes_no_mail_is_refused_in_the_same_words(mta: Mta, alice: User, alias: Alias) -> None:
    alias.disable()
    mta.mail()

    for address in (alias.address, "nobody@example.com", "b.nobody@example.com", "root@mx.example.com"):
        assert mta.rcpt(address) == unknown(address)

    blocks.write()
    alias.refresh_from_db()
    assert alias.blocks == Activity.objects.filter(event="block", sender="bob@sender.test").count() == 1


def test_a_refused_recipient_does_not_count_as_one(mta: Mta, alias: Alias) -> None:
    mta.mail()
    mta.rcpt("nobody@example.com")
    mta.rcpt(alias.address)

    assert kilter.AddRecipient("<alice@home.test>") in mta.end()


def test_a_refusal_repeats_no_octet_that_could_end_it(mta: Mta, example_com: Domain) -> None:
    mta.mail()

    assert mta.rcpt("a\r\n%s\x01@example.com") == unknown("a??%%s?@example.com")
    for letter in "xü":
        long = letter * 5000 + "@example.com"
        assert len(mta.rcpt("nobody@example.com", written=f"<{long}>").encode()) < 512


def test_a_client_that_guesses_has_to_wait(mta: Mta, alias: Alias, settings: Settings) -> None:
    too_many = "450 4.7.1 <{}>: Recipient address rejected: Too many unknown recipients, try again later"
    limit = settings.MAIL_UNKNOWN_PER_CLIENT
    mta.mail()
    for number in range(limit):
        assert mta.rcpt(f"nobody{number}@example.com") == unknown(f"nobody{number}@example.com")

    assert mta.rcpt(alias.address) == too_many.format(alias.address)
    assert mta.rcpt("someone@elsewhere.test") == ""
    # Who has signed in to Postfix is counted by name.
    mta.say(kilter.Abort())
    mta.mail(user="carol")
    assert mta.rcpt(alias.address) == ""


@pytest.mark.parametrize("error", [OperationalError, RuntimeError])
def test_nothing_goes_on_that_cannot_be_written(
    mta: Mta, alias: Alias, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(record, "_write_all", fail)
    mta.mail()
    mta.rcpt(alias.address)

    (answer,) = mta.end()

    assert words(answer) == "451 4.4.1 Cannot deliver now, try again later"
    assert forwards(alias) == 0


def test_what_cannot_be_written_in_time_is_not_counted(
    alias: Alias, anonmail: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Ledger):
        def _write(self, entries: Sequence[Any]) -> list[None]:
            time.sleep(0.4)
            return super()._write(entries)

    resolution = resolve(alias.address)

    async def hand_over() -> None:
        head = Head("bob@sender.test", [("from", "bob@sender.test")], "client.test", "MILTER")
        with closed_after(Lookups(), Slow()) as (lookups, ledger), pytest.raises(TooLate):
            await Forwarder(Hop(), lookups, ledger).redirect(head, resolution, alias.pk)

    monkeypatch.setattr("mail.delivery.forward.ANSWER_TIMEOUT", 0.3)
    asyncio.run(hand_over())

    assert forwards(alias) == 0
    assert not Activity.objects.exists()


def test_recipients_wait_for_the_database(mta: Mta, alias: Alias, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **more: object) -> None:
        raise OperationalError

    monkeypatch.setattr("mail.delivery.resolve._FIND", fail)
    mta.mail()

    away = "451 4.3.0 <{}>: Recipient address rejected: Cannot look this up now, try again later"
    assert mta.rcpt(alias.address) == away.format(alias.address)
    # Mail for others is not held up.
    assert mta.rcpt("someone@elsewhere.test") == ""


@pytest.mark.parametrize("deed", ["disable", "soft_delete", "owner.deactivate"])
def test_an_alias_that_no_longer_receives_by_the_end_goes_on_unchanged(
    mta: Mta, alias: Alias, deed: str
) -> None:
    """A client can take its time between RCPT and the end of the message."""
    mta.mail()
    mta.rcpt(alias.address)
    attrgetter(deed)(alias)()

    goes_on_unchanged(mta, alias)


def test_an_alias_that_is_gone_by_the_end_is_tried_again(mta: Mta, alias: Alias, alice: User) -> None:
    mta.mail()
    mta.rcpt(alias.address)
    Alias.objects.filter(pk=alias.pk).delete()

    (answer,) = mta.end()

    # The LMTP door finds out what became of it.
    assert isinstance(answer, kilter.Continue)


def test_a_message_may_arrive_slowly(
    mta: Mta, alias: Alias, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """Large messages over slow lines take longer than Postfix's other doors may be idle."""
    for name in ("QUESTION_TIMEOUT", "IDLE_TIMEOUT"):
        monkeypatch.setattr(f"mail.server.question_door.{name}", 0.2)
    settings.MAIL_PATIENCE, settings.MAIL_SIZE_LIMIT = 0, 20_000
    slow = connected(mta.connection.getpeername())
    slow.mail()
    slow.rcpt(alias.address)
    time.sleep(0.5)

    assert kilter.AddRecipient("<alice@home.test>") in slow.end()

    settings.MAIL_SIZE_LIMIT = 0
    assert slow.hear() is None
    slow.close()


def test_what_waits_for_the_next_hop_holds_up_no_answer(anonmail: None, alias: Alias) -> None:
    is_sending, may_end = threading.Event(), threading.Event()

    class SlowHop(Hop):
        async def send(self, *args: Any, **options: Any) -> Outcome:
            is_sending.set()
            await asyncio.to_thread(may_end.wait, 20)
            return await super().send(*args, **options)

    with running_doors(SlowHop(), "milter", "lmtp") as places, smtplib.LMTP(*places["lmtp"]) as lmtp:
        handing_over = threading.Thread(
            target=lmtp.sendmail, args=("bob@sender.test", [alias.address], "Subject: Hi\r\n\r\nHello\r\n")
        )
        handing_over.start()
        assert is_sending.wait(20)
        mta = connected(places["milter"])
        mta.mail()
        mta.rcpt(alias.address)

        changes = mta.end()

        may_end.set()
        handing_over.join()
        mta.close()
    assert kilter.AddRecipient("<alice@home.test>") in changes


def test_a_milter_that_stops_says_what_it_has_written(
    anonmail: None, alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the sender would send the message again, and it would be counted twice."""

    redirect, is_underway = Forwarder.redirect, threading.Event()

    async def slow(*args: Any) -> Redirection | None:
        is_underway.set()
        await asyncio.sleep(0.3)
        return await redirect(*args)

    monkeypatch.setattr(Forwarder, "redirect", slow)
    with running_doors(Hop(), "milter") as places:
        mta = connected(places["milter"])
        mta.mail()
        mta.rcpt(alias.address)
        mta.say_end()
        assert is_underway.wait(60)

    assert kilter.AddRecipient("<alice@home.test>") in mta.hear_end()
    mta.close()
    assert forwards(alias) == 1


def test_what_is_not_the_protocol_ends_the_connection(mta: Mta) -> None:
    mta.connection.sendall(b"GET / HTTP/1.1\r\n\r\n")

    assert mta.hear() is None


@pytest.mark.parametrize("command", [kilter.EndOfMessage(b""), kilter.EnvelopeRecipient(b"<a@example.com>")])
def test_a_command_out_of_order_ends_the_connection(mta: Mta, command: kilter.Message) -> None:
    mta.say(command)

    assert mta.hear() is None


def test_quit_ends_the_connection(mta: Mta) -> None:
    mta.say(kilter.Close())

    assert mta.hear() is None


SPAM = {**FIELDS, "Subject": "Buy =?utf-8?q?sp=61m?="}


def test_a_message_that_a_rule_blocks_is_refused_as_a_blocked_sender(mta: Mta, alias: Alias) -> None:
    made = rule(alias.owner, blocks=True, disables=True)
    mta.mail()
    mta.rcpt(alias.address)

    (answer,) = mta.end(SPAM)

    assert words(answer) == unknown(alias.address)
    blocks.write()
    assert Alias.objects.values_list("forwards", "blocks", "enabled").get(pk=alias.pk) == (0, 1, False)
    made.refresh_from_db()
    assert made.applied == 1


def test_a_message_that_a_rule_changes_comes_again_over_lmtp_and_is_not_counted_yet(
    mta: Mta, alias: Alias
) -> None:
    made = rule(alias.owner, subject="[A] {{subject}}")
    mta.mail()
    mta.rcpt(alias.address)

    (answer,) = mta.end(SPAM)

    assert isinstance(answer, kilter.Continue)
    made.refresh_from_db()
    assert (made.applied, forwards(alias)) == (0, 0)


def test_a_message_to_which_no_rule_applies_goes_on_by_itself(mta: Mta, alias: Alias) -> None:
    rule(alias.owner, blocks=True)
    mta.mail()
    mta.rcpt(alias.address)

    *changes, last = mta.end()

    assert isinstance(last, kilter.Continue)
    assert kilter.AddRecipient("<alice@home.test>") in changes
    assert forwards(alias) == 1
