"""What people complain about elsewhere when mail is forwarded, a row for each, and what happens here.

docs/complaints.md is the same list for readers. `shown` and `hidden` are what the owner's mailbox gets, or
never does; "{bob}" in them is Bob's reverse address.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes

import pytest
from django.core.exceptions import ValidationError
from pytest_django import Settings

from accounts.models import User
from accounts.models.own_addresses import check_available
from aliases.issuing import issue
from aliases.models import Alias
from contacts.addresses import new_reverse_address
from contacts.book import add_contact
from contacts.exceptions import NotACorrespondent
from contacts.models import Contact
from mail.delivery.next_hop import Refused
from tests.rig.mail_doors import Hop
from tests.rig.replying import BOB, OWN, Answer, letter, preferences

pytestmark = pytest.mark.django_db(transaction=True)

Send = Callable[..., Answer]
HELD = "X-Anonmail-Replies: hidden"
REVERSE = "r." + "a" * 26 + "@example.com"


@dataclass(frozen=True)
class Row:
    """A message of Bob's: its fields and body, and what arrives of it. Its body always arrives as it came."""

    fields: dict[str, str] = field(default_factory=dict)
    body: str = "Hello\r\n"
    sender: str = BOB
    shown: tuple[str, ...] = (HELD,)
    hidden: tuple[str, ...] = ()
    sender_format: str = "AT"


ROWS = {
    # Who wrote it
    "SimpleLogin 1974: a forgery is not shown as the genuine correspondent": Row(
        {"Authentication-Results": "mx.example.com; dmarc=fail header.from=sender.test"},
        shown=("X-Anonmail-Replies: visible; forged", f"From: Bob <{BOB}>"),
        hidden=("{bob}",),
    ),
    "SimpleLogin 498, 1810: own mail to an own alias arrives": Row({"From": OWN}, sender=OWN),
    "Relay 5716: an address as a name": Row(
        {"From": '"ceo@bank.test" <eve@sender.test>'},
        shown=('From: "ceo at bank.test - eve at sender.test" <r.',),
        hidden=('"ceo@bank.test',),
    ),
    "Relay 532, 723, 3219: the author's own address is there for filters": Row(
        shown=(f"X-Anonmail-Author: {BOB}", "<{bob}>")
    ),
    "SimpleLogin 2523: the bare reverse address, if preferred": Row(
        shown=("From: {bob}\r\n",), sender_format="NO_NAME"
    ),
    "two From fields: neither is believed": Row(
        {"From": "ceo@bank.test\r\nFrom: eve@evil.test"},
        shown=("<{bob}>", f"X-Anonmail-Author: {BOB}"),
        hidden=("eve@evil.test", "ceo@bank.test"),
    ),
    "a reverse address as the author": Row({"From": f"Eve <{REVERSE}>"}, shown=('From: "Eve" <{alias}>',)),
    # Whom an answer would reach
    "SimpleLogin 548: several addresses in Reply-To": Row(
        {"Reply-To": "one@sender.test, Two <two@sender.test>"},
        shown=("Reply-To: ", "one at sender.test", "two at sender.test"),
        hidden=("one@sender.test", "two@sender.test"),
    ),
    "addy 123, Relay 5625: an answer to all goes through the alias": Row(
        {"Cc": "carol@other.test"}, shown=('Cc: "carol at other.test" <r.',), hidden=("carol@other.test",)
    ),
    "a mail address that ends a subscription": Row(
        {"List-Unsubscribe": "<mailto:out@sender.test?subject=bye>"},
        shown=("List-Unsubscribe: <mailto:r.",),
        hidden=("out@sender.test",),
    ),
    "a wish for a receipt": Row(
        {"Disposition-Notification-To": "eve@sender.test", "Return-Receipt-To": "eve@sender.test"},
        hidden=("Disposition", "Return-Receipt", "eve@sender.test"),
    ),
    "SimpleLogin 798, addy 166: the alias in Bcc": Row({"To": "list@other.test"}, shown=("To: ", "<r.")),
    "a return alone hides no field": Row(
        {"Subject": "Hi\rReply-To: eve@evil.test"}, shown=("Subject: Hi Reply-To: eve@evil.test\r\n",)
    ),
    # Octets
    "SimpleLogin 2758: quoted-printable": Row(
        {"Content-Transfer-Encoding": "quoted-printable"},
        "Gr=C3=BC=C3=9Fe =\r\nfolded  \r\n",
        shown=("Content-Transfer-Encoding: quoted-printable",),
    ),
    "SimpleLogin 2213, addy 412: a charset, and octets that are not in it": Row(
        {"Content-Type": "text/plain; charset=us-ascii"}, "Grüße\r\n", shown=("charset=us-ascii",)
    ),
    "SimpleLogin 754, addy 210: pictures in the text": Row(
        {"Content-Type": 'multipart/related; boundary="x"'},
        "--x\r\nContent-Type: text/html\r\n\r\n<img src='cid:a'>\r\n"
        "--x\r\nContent-ID: <a>\r\n\r\nPNG\r\n--x--\r\nbehind\r\n",
    ),
    "addy 480: an invitation": Row(
        {"Content-Type": "text/calendar; method=REQUEST"}, f"BEGIN:VCALENDAR\r\nORGANIZER:mailto:{BOB}\r\n"
    ),
    "addy 714, 860: long lines and lone dots": Row(body="x" * 5000 + "\r\n.\r\n..\r\n"),
    "Relay 1988: the fields of a thread": Row(
        {"In-Reply-To": "<a@x.test>", "References": "<b@x.test>\r\n <a@x.test>"},
        shown=("In-Reply-To: <a@x.test>", "References: <b@x.test>\r\n <a@x.test>", "Message-ID: <1@"),
    ),
}


@pytest.fixture
def alias(alias: Alias, settings: Settings) -> Alias:
    """Its replies hide its owner."""
    settings.MAIL_AUTHSERV_IDS = ["mx.example.com"]
    Alias.objects.update(hides_replies=True)
    alias.refresh_from_db()
    return alias


def from_bob(to: str, **fields: str) -> bytes:
    return letter(to, **{"From": f"Bob <{BOB}>", **fields})


@pytest.mark.parametrize("complaint", ROWS)
def test_a_complaint(alice: User, alias: Alias, bob: Contact, send: Send, hop: Hop, complaint: str) -> None:
    row = ROWS[complaint]
    preferences(alice, sender_format=row.sender_format)

    assert send(alias.address, from_bob(alias.address, body=row.body, **row.fields), row.sender)[0] == 250

    ((_sender, recipient, arrived),) = hop.sent
    assert recipient == OWN
    header, _empty_line, body = arrived.partition(b"\r\n\r\n")
    assert body == row.body.encode()
    # The field that is for filters names the author.
    visible = header.replace(f"X-Anonmail-Author: {BOB}\r\n".encode(), b"")
    for texts, is_there, where in ((row.shown, True, header + b"\r\n"), (row.hidden, False, visible)):
        for text in texts:
            octets = text.replace("{bob}", bob.reverse_address).replace("{alias}", alias.address).encode()
            assert (octets in where) is is_there, text


def test_each_author_has_a_reverse_address_that_stays(alias: Alias, send: Send, hop: Hop) -> None:
    """Relay 686, 3796, 5347: all mail came from one address, or from another one each time."""
    for number, author in enumerate((BOB, "carol@sender.test", BOB)):
        content = from_bob(alias.address, From=author, Message_ID=f"<{number}@sender.test>")
        assert send(alias.address, content, author)[0] == 250

    bob, carol, bob_again = (message_from_bytes(content)["From"] for _sender, _to, content in hop.sent)
    assert bob == bob_again != carol


def test_two_aliases_of_one_owner_in_one_message(alice: User, alias: Alias, send: Send, hop: Hop) -> None:
    """Relay 684: a delivery each, and no reverse address of one alias in the copy for the other."""
    other = issue(owner=alice, destinations=[OWN])
    Alias.objects.update(hides_replies=True)
    content = from_bob(f"{alias.address}, {other.address}")

    assert [send(each.address, content, BOB)[0] for each in (alias, other)] == [250, 250]

    assert [recipient for _sender, recipient, _content in hop.sent] == [OWN, OWN]
    for each, (_sender, _recipient, arrived) in zip((alias, other), hop.sent, strict=True):
        theirs = Contact.objects.exclude(alias=each).values_list("reverse_address", flat=True)
        assert each.address.encode() in arrived
        assert not [address for address in theirs if address.encode() in arrived]


def test_nobody_names_a_correspondent_but_they_themselves(alias: Alias, send: Send) -> None:
    """SimpleLogin 2621: a name that somebody had written in Cc stayed."""
    send(alias.address, from_bob(alias.address, Cc="Stupid Carol <carol@other.test>"), BOB)

    assert Contact.objects.get(address="carol@other.test").name == ""


def test_a_destinations_refusal_does_not_show_the_destination(alias: Alias, send: Send, hop: Hop) -> None:
    """SimpleLogin 2220: what the destination's server says is its owner's to read."""
    hop.answers[OWN] = Refused("5.1.1", f"550 5.1.1 <{OWN}> unknown")

    assert send(alias.address, from_bob(alias.address), BOB) == (550, b"5.7.1 Message refused")


@pytest.mark.parametrize("to", ["alias", "reverse_address"])
def test_what_is_too_large_is_refused_whole(
    settings: Settings, dns: object, request: pytest.FixtureRequest, to: str
) -> None:
    """Relay 681, 659, 1049: attachments were dropped in silence."""
    settings.MAIL_SIZE_LIMIT = 100_000
    bob, hop, send = (request.getfixturevalue(name) for name in ("bob", "hop", "send"))
    address = bob.reverse_address if to == "reverse_address" else bob.alias.address

    assert send(address, letter(address, body="x" * 300_000))[0] == 552
    assert hop.sent == []


@pytest.mark.parametrize("tag", ["", "+tag"])
def test_a_reverse_address_is_nobodys_destination_and_nobodys_contact(
    alias: Alias, bob: Contact, tag: str
) -> None:
    """It would be a loop; given out or not, with or without a tag."""
    for reverse_address in (bob.reverse_address, new_reverse_address("example.com")):
        address = reverse_address.replace("@", f"{tag}@").upper()

        with pytest.raises(ValidationError):
            check_available(address)
        with pytest.raises(NotACorrespondent):
            add_contact(alias, address)
    check_available("r.smith@example.net")


def test_a_reverse_address_has_no_tag_of_its_own(bob: Contact) -> None:
    """addy 841: providers cut off what follows a plus."""
    assert "+" not in bob.reverse_address
