"""What is sent at the submission door: from which alias, to whom, and what of it recipients see."""

import re
import smtplib
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from contacts.book import PER_MESSAGE, add_contact
from contacts.models import Contact
from domains.models import Domain
from mail.delivery.next_hop import Pending, Refused
from mail.models import Activity, Event
from tests.rig.mail_doors import Hop, running_doors
from tests.rig.mail_process import is_soon
from tokens.models import Token

pytestmark = pytest.mark.django_db(transaction=True)

ACCEPTED = (250, b"2.0.0 Accepted")
UNKNOWN = (550, b"5.1.1 User unknown")
NOT_YOURS = (553, b"5.7.1 The sender must be one of your aliases, and enabled")
FRIEND = "friend@far.test"
# What a mail program adds, of which a recipient must see nothing.
TELLING = (
    "Received: from zx81.home.lan ([192.168.7.9]) by x; Thu, 26 Nov 2026 12:00:00 +0530\r\n"
    "X-Originating-IP: [192.168.7.9]\r\n"
    "User-Agent: Mozilla Thunderbird 128.5\r\n"
    "X-Mailer: Evolution\r\n"
    "Autocrypt: addr=alice@example.com; keydata=AAAA\r\n"
    "Organization: Alice's own\r\n"
    "Message-ID: <123@zx81.home.lan>\r\n"
    "Date: Thu, 26 Nov 2026 12:00:00 +0530\r\n"
)


@pytest.fixture
def place(hop: Hop, settings: Settings) -> Iterator[tuple[str, int]]:
    settings.MAIL_HOSTNAME = "mx.example.com"
    with running_doors(hop, "submission") as places:
        yield places["submission"]


@pytest.fixture
def program(place: tuple[str, int], alice: User, secret: str) -> Iterator[smtplib.SMTP]:
    """Alice's mail program, signed in."""
    with smtplib.SMTP(*place, local_hostname="zx81.home.lan", timeout=20) as server:
        server.login(alice.email, secret)
        yield server


def written(sender: str, to: str = FRIEND, more: str = "", body: str = "Hello\r\n") -> bytes:
    return f"From: Shop <{sender}>\r\nTo: {to}\r\nSubject: Hi\r\n{more}\r\n{body}".encode()


def send(
    server: smtplib.SMTP, sender: str, message: bytes, *recipients: str
) -> tuple[int, bytes] | dict[str, tuple[int, bytes]]:
    """The answer to the message; or those for its recipients if all are refused."""
    code, said = server.mail(sender)
    if code != 250:
        server.rset()
        return code, said
    refused = {to: answer for to in recipients or (FRIEND,) if (answer := server.rcpt(to))[0] != 250}
    if len(refused) == len(recipients or (FRIEND,)):
        server.rset()
        return refused
    return server.data(message)


def sent(hop: Hop) -> dict[str, Message]:
    """What went to each recipient."""
    return {recipient: message_from_bytes(content) for _sender, recipient, content in hop.sent}


def test_anybody_can_be_written_to_and_sees_the_alias_alone(
    program: smtplib.SMTP, alice: User, alias: Alias, hop: Hop
) -> None:
    message = written(alias.address, more=TELLING)

    assert send(program, alias.address, message) == ACCEPTED

    ((sender, recipient, content),) = hop.sent
    assert recipient == FRIEND
    assert sender.endswith("@example.com")
    assert content.endswith(b"\r\n\r\nHello\r\n")
    found = message_from_bytes(content)
    assert alias.address in found["From"]
    assert found["To"] == FRIEND
    assert found["Date"].endswith(("+0000", "-0000", "GMT"))
    assert found["Message-ID"].endswith("@example.com>")
    for word in (
        *("alice", "zx81", "192.168", "127.0.0.1", "+0530", "Thunderbird", "Evolution", "Autocrypt"),
        *("Received", "Organization", "User-Agent", "ESMTP"),
    ):
        assert word.encode() not in content, word


def test_each_recipient_gets_a_copy_and_nobody_sees_who_was_in_bcc(
    program: smtplib.SMTP, alias: Alias, hop: Hop
) -> None:
    to, cc, bcc = "a@far.test", "b@far.test", "secret@far.test"
    message = written(alias.address, to, f"Cc: {cc}\r\nBcc: {bcc}\r\n")

    assert send(program, alias.address, message, to, cc, bcc) == ACCEPTED

    assert set(sent(hop)) == {to, cc, bcc}
    for copy in sent(hop).values():
        assert (copy["To"], copy["Cc"], copy["Bcc"]) == (to, cc, None)
        assert bcc not in str(copy)


def test_recipients_become_contacts_whose_answers_are_known(
    program: smtplib.SMTP, alias: Alias, hop: Hop
) -> None:
    send(program, alias.address, written(alias.address), FRIEND)

    contact = Contact.objects.get()
    assert (contact.alias_id, contact.address, contact.waiting) == (alias.pk, FRIEND, False)
    assert is_soon(lambda: Contact.objects.get().replies == 1)
    alias.refresh_from_db()
    assert alias.replies == 1
    (activity,) = Activity.objects.all()
    assert (activity.event, activity.contact_id) == (Event.REPLY, contact.pk)


def test_a_reverse_address_of_the_alias_stands_for_its_correspondent(
    program: smtplib.SMTP, alias: Alias, hop: Hop
) -> None:
    contact, _is_there = add_contact(alias, FRIEND)

    assert (
        send(program, alias.address, written(alias.address, contact.reverse_address), contact.reverse_address)
        == ACCEPTED
    )

    (copy,) = sent(hop).items()
    assert copy[0] == FRIEND
    assert FRIEND in copy[1]["To"]
    assert contact.reverse_address not in str(copy[1])


def test_addys_form_of_a_recipient_stands_for_its_correspondent(
    program: smtplib.SMTP, alias: Alias, hop: Hop
) -> None:
    tagged = alias.address.replace("@", "+friend=far.test@")

    assert send(program, alias.address, written(alias.address, tagged), tagged) == ACCEPTED

    (copy,) = sent(hop).items()
    assert (copy[0], copy[1]["To"]) == (FRIEND, FRIEND)
    assert Contact.objects.get().address == FRIEND


def test_a_reverse_address_of_another_alias_is_unknown(
    program: smtplib.SMTP, alice: User, root: User, alias: Alias, hop: Hop
) -> None:
    """Neither another one of the same person's nor anybody else's: nothing tells them from none at all."""
    others = [add_contact(issue(owner=owner), FRIEND)[0].reverse_address for owner in (alice, root)]
    nobodys = f"r.{'a' * 26}@example.com"

    for address in (*others, nobodys):
        assert send(program, alias.address, written(alias.address), address) == {address: UNKNOWN}
        assert send(program, alias.address, written(alias.address, address))[0] == 550
    assert hop.sent == []


def test_an_alias_of_ours_is_a_recipient_like_others(
    program: smtplib.SMTP, root: User, alias: Alias, hop: Hop
) -> None:
    Domain.objects.create(name="shared.org", anonmail_enabled=True, is_shared=True)
    other, off = issue(owner=root), issue(owner=root)
    off.disable()

    assert send(program, alias.address, written(alias.address, other.address), other.address) == ACCEPTED
    assert send(program, alias.address, written(alias.address), "info@shared.org") == ACCEPTED
    assert set(sent(hop)) == {other.address, "info@shared.org"}
    for address in (off.address, "nobody@example.com", "noreply@example.com"):
        assert send(program, alias.address, written(alias.address), address) == {address: UNKNOWN}
    for address in ("x", "x@", "x@far", "x@[192.0.2.1]"):
        assert program.mail(alias.address)[0] == 250
        assert program.docmd("RCPT", f"TO:<{address}>")[0] in {501, 553}
        program.rset()


def test_one_message_goes_to_as_many_as_can_become_contacts(
    program: smtplib.SMTP, alias: Alias, hop: Hop
) -> None:
    program.mail(alias.address)
    answers = [program.rcpt(f"friend{number}@far.test") for number in range(PER_MESSAGE + 1)]

    assert {code for code, _said in answers[:-1]} == {250}
    # The program sends the others a message of their own.
    assert answers[-1] == (452, b"4.5.3 Too many recipients, please send the others again")
    assert program.data(written(alias.address)) == ACCEPTED
    assert len(hop.sent) == Contact.objects.count() == PER_MESSAGE


REFUSED_SENDERS = {
    "the own address": lambda cast: cast["alice"].email,
    "nobody's address": lambda cast: "nobody@example.com",
    "somebody else's alias": lambda cast: cast["theirs"].address,
    "a disabled alias": lambda cast: cast["off"].address,
    "a deleted alias": lambda cast: cast["deleted"].address,
    "an address elsewhere": lambda cast: FRIEND,
    "a reverse address of the own alias": lambda cast: cast["contact"].reverse_address,
    "the null sender": lambda cast: "",
    "no address": lambda cast: "alias",
}
Cast = dict[str, Any]


@pytest.fixture
def cast(alice: User, root: User, alias: Alias) -> Cast:
    """Aliases in all states."""
    off, deleted = issue(owner=alice), issue(owner=alice)
    off.disable()
    deleted.soft_delete()
    contact, _is_there = add_contact(alias, FRIEND)
    return {
        "alice": alice,
        "alias": alias,
        "second": issue(owner=alice),
        "theirs": issue(owner=root),
        "off": off,
        "deleted": deleted,
        "contact": contact,
    }


@pytest.mark.parametrize("case", REFUSED_SENDERS)
def test_the_envelope_s_sender_is_an_enabled_alias_of_whoever_signed_in(
    program: smtplib.SMTP, cast: Cast, hop: Hop, case: str
) -> None:
    sender = REFUSED_SENDERS[case](cast)

    assert program.mail(sender) == NOT_YOURS
    assert program.rcpt(FRIEND)[0] == 503
    assert hop.sent == []


REFUSED_MESSAGES: dict[str, Callable[[Cast], str]] = {
    "From is the own address": lambda cast: f"From: {cast['alice'].email}",
    "From is another alias of the same person": lambda cast: f"From: {cast['second'].address}",
    "From is somebody else's alias": lambda cast: f"From: {cast['theirs'].address}",
    "From is elsewhere": lambda cast: "From: ceo@bank.test",
    "a name that looks like the alias": lambda cast: f'From: "{cast["alias"].address}" <ceo@bank.test>',
    "two From fields": lambda cast: f"From: {cast['alias'].address}\r\nFrom: ceo@bank.test",
    "two addresses in From": lambda cast: f"From: {cast['alias'].address}, ceo@bank.test",
    "a group in From": lambda cast: f"From: us: {cast['alias'].address}, ceo@bank.test;",
    "no From": lambda cast: "X-Nothing: here",
    "an empty From": lambda cast: "From: ",
    "Sender of another": lambda cast: f"From: {cast['alias'].address}\r\nSender: ceo@bank.test",
    "Sender is the own address": lambda cast: (
        f"From: {cast['alias'].address}\r\nSender: {cast['alice'].email}"
    ),
    "a bare line end in From": lambda cast: f"From: {cast['alias'].address}\nFrom: ceo@bank.test",
    "a line feed before another From": lambda cast: f"Subject: x\nFrom: {cast['alias'].address}",
    "no header": lambda cast: "\r\nHello",
    "the own address in the subject": lambda cast: (
        f"From: {cast['alias'].address}\r\nSubject: from {cast['alice'].email}"
    ),
}


@pytest.mark.parametrize("case", REFUSED_MESSAGES)
def test_what_the_header_says_has_to_be_the_same_alias(
    program: smtplib.SMTP, cast: Cast, hop: Hop, case: str
) -> None:
    message = f"{REFUSED_MESSAGES[case](cast)}\r\nTo: {FRIEND}\r\n\r\nHello\r\n".encode()

    program.mail(cast["alias"].address)
    program.rcpt(FRIEND)
    program.putcmd("data")
    assert program.getreply()[0] == 354
    program.send(message + b".\r\n")
    code, said = program.getreply()

    assert code == 550, said
    # A sentence, which a mail program shows.
    assert re.fullmatch(rb"5\.\d\.\d [A-Z].{10,}", said), said
    assert hop.sent == []
    assert not Activity.objects.exists()


def test_a_tag_and_capitals_are_the_same_alias(program: smtplib.SMTP, alias: Alias, hop: Hop) -> None:
    assert send(program, alias.address.upper(), written(alias.address.title())) == ACCEPTED

    (copy,) = sent(hop).values()
    assert alias.address in copy["From"]


def test_nobody_sends_without_signing_in(place: tuple[str, int], alias: Alias, hop: Hop) -> None:
    with smtplib.SMTP(*place, timeout=20) as server:
        server.ehlo()
        code, said = server.mail(alias.address)
        assert (code, said[:5]) == (530, b"5.7.0")
        assert server.rcpt(FRIEND)[0] == 503
        assert server.docmd("DATA")[0] == 503
        assert server.verify("root")[0] == 502
    assert hop.sent == []


def test_a_message_that_the_next_hop_does_not_take_is_not_acknowledged(
    program: smtplib.SMTP, alias: Alias, hop: Hop
) -> None:
    hop.answers[FRIEND] = Pending("busy")
    assert send(program, alias.address, written(alias.address))[0] == 451
    hop.answers[FRIEND] = Refused("5.1.1", "alice@example.com is unknown to me")
    code, said = send(program, alias.address, written(alias.address, body="Another\r\n"))
    assert code == 550
    assert b"alice" not in said
    del hop.answers[FRIEND]
    assert send(program, alias.address, written(alias.address, body="A third\r\n")) == ACCEPTED
    assert len(hop.sent) == 1


def test_a_second_try_goes_only_to_those_who_have_no_copy_yet(
    place: tuple[str, int], program: smtplib.SMTP, alias: Alias, hop: Hop
) -> None:
    message = written(alias.address, f"{FRIEND}, other@far.test", "Message-ID: <1@zx81.home.lan>\r\n")
    hop.answers["other@far.test"] = Pending("busy")
    assert send(program, alias.address, message, FRIEND, "other@far.test")[0] == 451
    del hop.answers["other@far.test"]

    assert send(program, alias.address, message, FRIEND, "other@far.test") == ACCEPTED

    assert sorted(recipient for _sender, recipient, _content in hop.sent) == [FRIEND, "other@far.test"]


def test_a_message_over_the_limit_is_refused_whole(
    hop: Hop, alice: User, alias: Alias, secret: str, settings: Settings
) -> None:
    settings.MAIL_SIZE_LIMIT = 100_000
    with (
        running_doors(hop, "submission") as places,
        smtplib.SMTP(*places["submission"], timeout=20) as server,
    ):
        server.login(alice.email, secret)
        assert server.mail(alias.address, ["SIZE=100001"])[0] == 552
        assert send(server, alias.address, written(alias.address, body="x" * 300_000)) == (
            552,
            b"5.3.4 Message too large",
        )
    assert hop.sent == []


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\n.\r"])
def test_only_one_line_end_ends_a_message(program: smtplib.SMTP, alias: Alias, hop: Hop, end: bytes) -> None:
    """What follows is no second message, by whoever wrote it (SMTP smuggling)."""
    smuggled = (
        b"MAIL FROM:<ceo@bank.test>\r\nRCPT TO:<victim@far.test>\r\nDATA\r\nFrom: ceo@bank.test\r\n\r\nPay"
    )
    program.mail(alias.address)
    program.rcpt(FRIEND)
    program.docmd("DATA")
    program.send(written(alias.address) + b"x" + end + smuggled + b"\r\n.\r\n")

    program.getreply()

    assert program.noop()[0] == 250
    assert {recipient for _sender, recipient, _content in hop.sent} <= {FRIEND}
    assert {sender for sender, _recipient, _content in hop.sent} != {"ceo@bank.test"}


def test_guessing_recipients_is_slow_whatever_address_the_guesses_come_from(
    program: smtplib.SMTP, alias: Alias
) -> None:
    program.mail(alias.address)
    answers = [program.rcpt(f"guess{number}@example.com") for number in range(10)]

    assert answers[:9] == [UNKNOWN] * 9
    assert answers[9][0] == 421
    with pytest.raises(smtplib.SMTPServerDisconnected):
        program.noop()


def test_the_command_sends_from_the_newest_alias(
    place: tuple[str, int], alias: Alias, hop: Hop, settings: Settings
) -> None:
    settings.MAIL_SUBMISSION_LISTEN = f"127.0.0.1:{place[1]}"

    assert call_command("send_from_alias", FRIEND) == f"Sent from {alias.address}."

    assert list(sent(hop)) == [FRIEND]
    # Its token is gone again.
    assert not Token.objects.exists()
    alias.disable()
    with pytest.raises(CommandError, match=r"^Refused: 553 5\.7\.1 The sender must be"):
        call_command("send_from_alias", FRIEND, alias=alias.address)
    with pytest.raises(CommandError, match=r"^There is no alias nobody@example\.com\.$"):
        call_command("send_from_alias", FRIEND, alias="nobody@example.com")
    assert not Token.objects.exists()
