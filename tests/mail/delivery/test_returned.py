"""The message that comes back with a report: who wrote it, and keeping it for its owner."""

import base64
import quopri
from datetime import timedelta
from email import message_from_bytes

import pytest
import time_machine
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasDestination, AliasPreferences
from contacts.models import Contact
from core.ratelimit import Counter
from core.sealing import CannotUnseal
from mail import models
from mail.delivery.bounce import count_returned, read_bounce
from mail.delivery.forward import Answer, Message
from mail.delivery.next_hop import Refused
from mail.delivery.resolve import resolve
from mail.delivery.returned import returned_part
from mail.models import FailedDelivery, ReturnedMessage
from tests.rig.correspondents import contacts_for
from tests.rig.mail_doors import Hop, take

pytestmark = pytest.mark.django_db(transaction=True)

ORIGINAL = b'From: "Shop" <news@shop.test>\r\nSubject: Caf\xc3\xa9\r\n\r\n--x\r\nBody\xff\r\n\r\n'


def report(
    message: bytes, kind: str = "message/rfc822", encoding: str = "", boundary: str = '"b=1"'
) -> bytes:
    """A delivery report that carries the message in its third part."""
    mark = b"--" + boundary.strip('"').encode()
    head = f"Content-Type: {kind}\r\n" + (f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else "")
    return b"\r\n".join(
        [
            b"From: MAILER-DAEMON@mx.home.test",
            b"Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=" + boundary.encode(),
            b"",
            mark,
            b"Content-Type: text/plain\r\n\r\nIt did not go.",
            mark,
            b"Content-Type: message/delivery-status\r\n",
            b"Final-Recipient: rfc822; alice@home.test\r\nAction: failed\r\nStatus: 5.2.2",
            b"Diagnostic-Code: smtp; 552 5.2.2 Full",
            mark,
            head.encode(),
            message,
            mark + b"--",
            b"",
        ]
    )


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


def send(alias: Alias, text: bytes = ORIGINAL) -> tuple[str, bytes]:
    """The return path and the octets with which a message to the alias goes on."""
    hop = Hop()
    take(Message("bounces@shop.test", text, "x", "SMTP"), resolve(alias.address), hop)
    ((sender, _recipient, content),) = hop.sent
    return sender, content


def come_back(path: str, octets: bytes) -> None:
    address = resolve(path).address
    assert address is not None
    returned = read_bounce(address, octets)
    assert returned is not None
    count_returned(*returned)


def keep(owner: User) -> None:
    AliasPreferences.objects.update_or_create(user=owner, defaults={"keeps_returned": True})


@pytest.mark.parametrize("boundary", ['"b=1"', "b1", '"a b.c"'])
@pytest.mark.parametrize(
    ("kind", "is_whole"),
    [
        ("message/rfc822", True),
        ("Message/RFC822; x=y", True),
        ("message/global", True),
        ("text/rfc822-headers", False),
        ("message/global-headers; charset=utf-8", False),
    ],
)
def test_the_message_is_taken_out_octet_by_octet(kind: str, is_whole: bool, boundary: str) -> None:
    assert returned_part(report(ORIGINAL, kind, boundary=boundary)) == (ORIGINAL, is_whole)


def test_an_encoded_message_is_decoded() -> None:
    as_base64, quoted = base64.encodebytes(ORIGINAL), quopri.encodestring(ORIGINAL)

    assert returned_part(report(as_base64, encoding="Base64")) == (ORIGINAL, True)
    assert returned_part(report(quoted, encoding="quoted-printable"))[0].rstrip() == ORIGINAL.rstrip()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\r\n",
        b"From: x\r\n\r\nNo parts.",
        report(ORIGINAL).replace(b"boundary=", b"b="),
        report(ORIGINAL).replace(b"multipart/report", b"text/plain"),
        report(ORIGINAL, "application/octet-stream"),
        report(b"%%%", encoding="base64").replace(b"%%%", b"AAA"),
        b"Content-Type: multipart/report; boundary=x",
        b'Content-Type: multipart/report; boundary="',
        b"Content-Type: multipart/report; boundary=x\r\n\r\n" + b"--x\r\n" * 100_000,
    ],
    ids=range(10),
)
def test_what_carries_no_message_gives_none(octets: bytes) -> None:
    assert returned_part(octets)[0] == b""


def test_the_owner_sees_who_wrote_what_came_back(alias: Alias) -> None:
    path, content = send(alias)

    come_back(path, report(content, "text/rfc822-headers"))

    failed = FailedDelivery.objects.get()
    assert (failed.sender, failed.status, failed.reason) == ("news@shop.test", "5.2.2", "552 5.2.2 Full")
    assert failed.explanation == "The mailbox is full."
    assert failed.kept is None


def test_a_refusal_of_the_next_hop_has_its_status(alias: Alias) -> None:
    hop = Hop({"alice@example.com": Refused("5.7.1", "550 5.7.1 No")})

    answer = take(Message("eve@evil.test", b"a: b\r\n\r\n", "x", "LMTP"), resolve(alias.address), hop)

    failed = FailedDelivery.objects.get()
    assert answer is Answer.REFUSED
    assert (failed.sender, failed.status, failed.reason) == ("eve@evil.test", "5.7.1", "550 5.7.1 No")


def test_a_message_that_we_did_not_forward_says_nothing(alias: Alias, alice: User) -> None:
    keep(alice)
    path, content = send(alias)
    _path, of_another = send(issue(owner=alice))
    unmarked = content.replace(b"X-Anonmail-Loop", b"X-Anonmail-Loup")

    come_back(path, report(unmarked))
    path, _content = send(alias, ORIGINAL + b"Second")
    come_back(path, report(of_another))

    assert [failed.sender for failed in FailedDelivery.objects.all()] == ["", ""]
    assert not ReturnedMessage.objects.exists()


def test_the_message_is_kept_only_for_who_wants_it_and_is_sealed(alias: Alias, alice: User) -> None:
    path, content = send(alias)
    come_back(path, report(content))
    assert not ReturnedMessage.objects.exists()
    keep(alice)
    path, content = send(alias, ORIGINAL + b"Another")

    come_back(path, report(content))

    kept = ReturnedMessage.objects.get()
    assert kept.content == content
    assert "Another" not in kept.sealed
    with override_settings(SECRET_KEY="another-secret-key-of-this-installation"), pytest.raises(CannotUnseal):
        kept.content  # noqa: B018
    failed = FailedDelivery.objects.newest_first().get(sender="news@shop.test", returned__isnull=False)
    assert failed.kept == kept


def test_who_wrote_a_hidden_forward_that_came_back_is_the_correspondent(alias: Alias, alice: User) -> None:
    keep(alice)
    Alias.objects.filter(pk=alias.pk).update(hides_replies=True)
    path, content = send(alias)
    contact = Contact.objects.get()
    assert contact.reverse_address.encode() in content

    come_back(path, report(content))

    failed = FailedDelivery.objects.get()
    assert (failed.sender, failed.contact, failed.is_reply) == ("news@shop.test", contact, False)
    # Not either when it is no longer known where it was to go.
    AliasDestination.objects.filter(address=failed.destination).delete()
    failed.destination.delete()
    failed.refresh_from_db()
    assert (failed.destination, failed.is_reply) == (None, False)
    assert ReturnedMessage.objects.get().content == content


def test_a_reply_that_came_back_is_kept_as_the_owners_mailbox_knows_it(
    alias: Alias, alice: User, settings: Settings
) -> None:
    keep(alice)
    settings.MAIL_AUTHSERV_IDS = ["front.test"]
    contacts_for(alias.pk, [("bob@shop.test", "Bob")])
    contact, ids = Contact.objects.get(), ["<1@laptop.test>", "<2@laptop.test>"]
    hop = Hop()
    for number, message_id in enumerate(ids):
        written = (
            "Authentication-Results: front.test; dmarc=pass header.from=example.com\r\n"
            f"From: {alice.email}\r\nTo: {contact.reverse_address}\r\nSubject: Hi\r\n"
            f"Message-ID: {message_id}\r\nReferences: <0@shop.test> {' '.join(ids[:number])}\r\n"
            "\r\nMessage-ID: <m.x@y>\r\n"
        )
        message = Message(alice.email, written.encode(), "x", "LMTP", is_queued=True)
        assert take(message, resolve(contact.reverse_address), hop) is Answer.DONE
    _first, (path, _recipient, content) = hop.sent
    assert b"laptop.test" not in content

    come_back(path, report(content.replace(b"Message-ID: <m.", b"Message-ID: <n.", 1)))
    assert not ReturnedMessage.objects.exists()
    FailedDelivery.objects.all().delete()
    Counter.objects.all().delete()
    come_back(path, report(content))

    kept = ReturnedMessage.objects.get().content
    assert message_from_bytes(kept)["Message-ID"] == ids[1]
    assert message_from_bytes(kept)["References"].split() == ["<0@shop.test>", ids[0]]
    assert kept.partition(b"\r\n\r\n")[2] == content.partition(b"\r\n\r\n")[2]
    failed = FailedDelivery.objects.get()
    assert (failed.sender, failed.is_reply) == ("bob@shop.test", True)


def test_no_more_is_kept_of_one_person_than_there_is_room(
    alias: Alias, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(alice)
    monkeypatch.setattr(models, "RETURNED_OCTETS", 2_000)
    monkeypatch.setattr(models, "RETURNED_OCTETS_OF_ALL", 2_000)
    other = issue(owner=alice)

    for number, (to, size) in enumerate([(alias, 2_500), (alias, 1_000), (other, 1_000), (alias, 10)]):
        path, content = send(to, ORIGINAL + b"%d" % number + b"x" * size)
        come_back(path, report(content))

    # The first is too large by itself, the third with the second.
    large, small = ReturnedMessage.objects.order_by("pk").values_list("octets", flat=True)
    assert large - small == 990
    assert FailedDelivery.objects.count() == 4


def test_housekeeping_deletes_messages_after_a_week_and_entries_after_a_month(
    alias: Alias, alice: User
) -> None:
    keep(alice)
    path, content = send(alias)
    come_back(path, report(content))

    left = []
    for days in (6, 8, 29, 31):
        with time_machine.travel(timezone.now() + timedelta(days=days), tick=False):
            call_command("prune_activity", verbosity=0)
            left.append((FailedDelivery.objects.count(), ReturnedMessage.objects.count()))

    assert left == [(1, 1), (1, 0), (1, 0), (0, 0)]


def test_no_message_is_kept_longer_than_activity(alias: Alias, alice: User) -> None:
    keep(alice)
    path, content = send(alias)
    come_back(path, report(content))

    with (
        override_settings(ACTIVITY_DAYS=2),
        time_machine.travel(timezone.now() + timedelta(days=3), tick=False),
    ):
        call_command("prune_activity", verbosity=0)

    assert not FailedDelivery.objects.exists()
    assert not ReturnedMessage.objects.exists()


def test_a_stripped_alias_leaves_no_message(alias: Alias, alice: User) -> None:
    keep(alice)
    path, content = send(alias)
    come_back(path, report(content))

    Alias.objects.filter(pk=alias.pk).strip()

    assert not FailedDelivery.objects.exists()
    assert not ReturnedMessage.objects.exists()
