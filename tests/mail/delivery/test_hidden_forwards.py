"""Mail to aliases whose replies hide their owner: contacts, signatures, counters, exceptions."""

import asyncio
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasDestination, AliasPreferences, SenderFormat
from contacts.models import Contact
from domains.models import Domain
from mail.delivery.handover import Answer, Head, Message
from mail.delivery.message import header_fields
from mail.delivery.next_hop import Outcome, Pending, Refused
from mail.delivery.resolve import resolve
from mail.models import Activity, Caution, Delivery
from tests.rig.at_once import and_disconnect
from tests.rig.dkim_keys import published_keys
from tests.rig.dkim_verifiers import verified_by_dkimpy
from tests.rig.mail_doors import Hop, Process, take

pytestmark = pytest.mark.django_db(transaction=True)

BODY = b"Hello, Eve here: eve@sender.test\r\n"
CONTENT = (
    b"From: Eve <eve@sender.test>\r\nTo: carol@other.test, %s\r\nSubject: Hi\r\n"
    b"Message-ID: <1@sender.test>\r\nDKIM-Signature: v=1; d=sender.test; h=from\r\n\r\n"
) + BODY


@pytest.fixture
def alias(alice: User) -> Alias:
    alias = issue(owner=alice)
    alias.hides_replies = True
    alias.save()
    return alias


def sent(alias: Alias, content: bytes = CONTENT, sender: str = "eve@sender.test") -> bytes:
    """What arrives when the message is forwarded."""
    hop = Hop()
    content = content.replace(b"%s", alias.address.encode())
    assert take(Message(sender, content, "x", "LMTP"), resolve(alias.address), hop) is Answer.DONE
    ((_sender, _recipient, arrived),) = hop.sent
    return arrived


def fields_of(message: bytes) -> dict[str, str]:
    return dict(header_fields(message))


def parsed(message: bytes) -> EmailMessage:
    return message_from_bytes(message, policy=policy.default)


def test_a_new_alias_hides_replies_unless_its_owner_prefers_otherwise(alice: User, mallory: User) -> None:
    assert not issue(owner=alice).hides_replies  # the tests' alice prefers otherwise

    AliasPreferences.objects.filter(user=alice).delete()

    assert issue(owner=User.objects.get(pk=alice.pk)).hides_replies


def test_a_forward_names_reverse_addresses_and_keeps_the_body(alias: Alias) -> None:
    arrived = sent(alias)

    eve, carol = (
        Contact.objects.get(alias=alias, address=f"{name}.test") for name in ("eve@sender", "carol@other")
    )
    assert arrived.endswith(b"\r\n\r\n" + BODY)
    read = parsed(arrived)
    assert read["From"] == f'"Eve - eve at sender.test" <{eve.reverse_address}>'
    assert read["To"] == f'"carol at other.test" <{carol.reverse_address}>, {alias.address}'
    assert (read["Subject"], read["Message-ID"]) == ("Hi", "<1@sender.test>")
    assert read["X-Anonmail-Author"] == "eve@sender.test"
    assert read["X-Anonmail-Replies"] == "hidden"
    assert read["X-Anonmail-Alias"] == alias.address
    assert read["DKIM-Signature"] is None
    assert "One-Click" in read["List-Unsubscribe-Post"]
    header = arrived.partition(b"\r\n\r\n")[0].replace(b"X-Anonmail-Author: eve@sender.test", b"")
    assert b"eve@sender.test" not in header
    assert b"carol@other.test" not in header


def test_the_same_correspondent_keeps_one_reverse_address(alias: Alias) -> None:
    first = fields_of(sent(alias))["from"]
    second = fields_of(sent(alias, CONTENT.replace(b"<1@", b"<2@").replace(b"Eve <", b"Other Name <")))[
        "from"
    ]

    assert first == second
    assert Contact.objects.count() == 2


def test_the_contact_counts_what_arrived(alias: Alias, alice: User) -> None:
    sent(alias)

    eve = Contact.objects.get(address="eve@sender.test")
    assert (eve.forwards, eve.replies, eve.blocks, eve.name) == (1, 0, 0, "Eve")
    assert eve.last_forward_at is not None
    assert Contact.objects.get(address="carol@other.test").forwards == 0
    activity = Activity.objects.get()
    assert (activity.contact, activity.caution, activity.sender) == (eve, "", "eve@sender.test")
    alias.refresh_from_db()
    assert alias.forwards == 1


def test_a_name_comes_from_its_owner_alone(alias: Alias) -> None:
    """SimpleLogin 2621: whoever names somebody in Cc does not name the contact."""
    sent(alias, b"From: eve@sender.test\r\nCc: Stupid Carol <carol@other.test>\r\n\r\n")
    assert Contact.objects.get(address="carol@other.test").name == ""

    arrived = sent(alias, b"From: Carol C. <carol@other.test>\r\n\r\n")

    carol = Contact.objects.get(address="carol@other.test")
    assert carol.name == "Carol C."
    assert parsed(arrived)["From"] == f'"Carol C. - carol at other.test" <{carol.reverse_address}>'
    carol.rename("Boss")
    assert (
        "Boss - carol" in fields_of(sent(alias, b"From: Carol C. <carol@other.test>\r\nX: 2\r\n\r\n"))["from"]
    )
    assert Contact.objects.get(pk=carol.pk).name == "Boss"


@pytest.mark.parametrize(
    ("sender_format", "shown"),
    [
        (SenderFormat.AT, '"Eve - eve at sender.test" <'),
        (SenderFormat.A, '"Eve - eve(a)sender.test" <'),
        (SenderFormat.NAME_ONLY, '"Eve" <'),
        (SenderFormat.AT_ONLY, '"eve at sender.test" <'),
        (SenderFormat.NO_NAME, "r."),
    ],
)
def test_the_owner_says_how_correspondents_are_shown(
    alias: Alias, alice: User, sender_format: SenderFormat, shown: str
) -> None:
    AliasPreferences.objects.filter(user=alice).update(sender_format=sender_format)

    assert fields_of(sent(alias))["from"].startswith(shown)


def test_what_is_sent_is_signed_as_it_is_sent(alias: Alias, example_com: Domain) -> None:
    keys = published_keys(example_com)

    arrived = sent(alias, CONTENT.replace(b"Hi", "Grüße".encode()) + "Grüße \t 📬\r\n \r\n\r\n".encode())

    assert verified_by_dkimpy(arrived, keys) == [True, True]
    assert arrived.startswith(b"DKIM-Signature: ")
    forged = arrived.replace(b"Subject: Gr", b"Subject: Br")
    assert verified_by_dkimpy(forged, keys) == [False, False]


def test_a_message_whose_author_is_forged_goes_on_as_it_came(alias: Alias, settings: Settings) -> None:
    """SimpleLogin 1974: a reverse address would show the forgery as the genuine contact."""
    settings.MAIL_AUTHSERV_IDS = ["mx.example.com"]
    verdict = b"Authentication-Results: mx.example.com; dmarc=fail header.from=sender.test\r\n"
    content = verdict + CONTENT.replace(b"%s", alias.address.encode())

    arrived = sent(alias, content)

    assert arrived.endswith(b"\r\n" + content)
    assert fields_of(arrived)["x-anonmail-replies"] == "visible; forged"
    assert not Contact.objects.exists()
    assert Activity.objects.get().caution == Caution.FORGED
    passed = sent(alias, content.replace(b"dmarc=fail", b"dmarc=pass"))
    assert fields_of(passed)["x-anonmail-replies"] == "hidden"


def test_over_the_limit_of_new_contacts_mail_flows_as_it_came(alias: Alias, settings: Settings) -> None:
    settings.CONTACTS_PER_DAY = 1
    sent(alias)
    content = CONTENT.replace(b"eve@", b"dave@").replace(b"%s", alias.address.encode())

    arrived = sent(alias, content)

    assert arrived.endswith(b"\r\n" + content)
    assert fields_of(arrived)["x-anonmail-replies"] == "visible; no contact"
    assert Activity.objects.latest("pk").caution == Caution.NO_CONTACT
    # Whom the owner has as a contact is hidden as before; a new one in Cc is left out.
    known = fields_of(sent(alias, CONTENT.replace(b"carol@", b"dave@")))
    assert known["from"].startswith('"Eve - eve at sender.test" <r.')
    assert known["x-anonmail-left-out"] == "dave@other.test"


def test_twenty_correspondents_of_a_message_get_reverse_addresses(alias: Alias) -> None:
    cc = ", ".join(f"user{number}@other.test" for number in range(30))

    fields = fields_of(sent(alias, f"From: eve@sender.test\r\nCc: {cc}\r\n\r\n".encode()))

    assert Contact.objects.count() == 20
    assert fields["cc"].count("<r.") == 19
    assert fields["x-anonmail-left-out"].count("@other.test") == 11


def test_two_destinations_get_the_same_octets(alias: Alias, alice: User) -> None:
    second = EmailAddress.objects.create(user=alice, email="alice@second.test", verified=True)
    AliasDestination.objects.create(alias=alias, address=second)
    hop = Hop({"alice@second.test": Refused("5.7.1", "no")})

    take(Message("eve@sender.test", CONTENT, "x", "LMTP"), resolve(alias.address), hop)

    assert [recipient for _sender, recipient, _content in hop.sent] == ["alice@example.com"]
    assert Contact.objects.get(address="eve@sender.test").forwards == 1
    assert set(Activity.objects.values_list("event", "contact__address")) == {
        ("forward", "eve@sender.test"),
        ("bounce", "eve@sender.test"),
    }


def test_a_retry_is_recognised_and_counted_once(alias: Alias) -> None:
    message = Message("eve@sender.test", CONTENT, "x", "LMTP")
    hop = Hop({"alice@example.com": Pending("421")})
    with Process(hop) as process:
        assert process.take(message, resolve(alias.address)) is Answer.LATER
        hop.answers.clear()
        assert process.take(message, resolve(alias.address)) is Answer.DONE
        assert process.take(message, resolve(alias.address)) is Answer.DONE

    assert len(hop.sent) == 1
    assert Contact.objects.get(address="eve@sender.test").forwards == 1
    assert Delivery.objects.get().accepted


def test_a_contact_that_is_deleted_meanwhile_does_not_make_it_arrive_twice(alias: Alias) -> None:
    class DeletingHop(Hop):
        async def send(self, *mail: Any, **more: Any) -> Outcome:
            await asyncio.to_thread(and_disconnect, Contact.objects.all().delete)
            return await super().send(*mail, **more)

    hop = DeletingHop()

    assert take(Message("eve@sender.test", CONTENT, "x", "LMTP"), resolve(alias.address), hop) is Answer.DONE

    assert Delivery.objects.get().accepted
    alias.refresh_from_db()
    assert alias.forwards == 1
    assert Activity.objects.get().contact is None


def test_two_aliases_in_one_message_learn_nothing_of_each_other(alias: Alias, alice: User) -> None:
    """Relay 684: a delivery each, with reverse addresses of its own."""
    other = issue(owner=alice)
    Alias.objects.filter(pk=other.pk).update(hides_replies=True)
    content = f"From: eve@sender.test\r\nTo: {alias.address}, {other.address}\r\n\r\n".encode()

    first, second = (parsed(sent(each, content)) for each in (alias, other))

    assert first["To"].startswith(alias.address)
    assert other.address not in first["To"].replace(" at ", "@").partition(",")[0]
    assert first["From"] != second["From"]
    assert Contact.objects.filter(alias=alias, address=other.address).exists()


def test_a_bounce_and_a_message_without_a_header_are_hidden_too(alias: Alias) -> None:
    bounce = sent(alias, b"From: Mailer <mailer-daemon@sender.test>\r\n\r\nNo such user\r\n", sender="")
    assert fields_of(bounce)["from"].startswith('"Mailer - mailer-daemon at sender.test" <r.')

    bare = sent(alias, b"\r\njust text\r\n")
    assert fields_of(bare)["from"].startswith('"eve at sender.test" <r.')
    assert bare.endswith(b"\r\n\r\njust text\r\n")

    nobody = sent(alias, b"Subject: x\r\n\r\n", sender="")
    assert fields_of(nobody)["from"] == alias.address


def test_the_milter_leaves_such_an_alias_to_lmtp(alias: Alias, alice: User) -> None:
    head = Head("eve@sender.test", list(header_fields(CONTENT)), "x", "MILTER")
    shown = issue(owner=alice)
    with Process(Hop()) as process:
        for each, is_redirected in ((alias, False), (shown, True)):
            redirect = process.forwarder.redirect(head, resolve(each.address), each.pk)
            assert (process.runner.run(redirect) is not None) is is_redirected


def test_a_large_message_is_rewritten_too(alias: Alias, example_com: Domain) -> None:
    keys = published_keys(example_com)

    arrived = sent(alias, CONTENT + b"x" * 70 + (b"\r\n" + b"y" * 70) * 30_000 + b"\r\n")

    assert fields_of(arrived)["from"].startswith('"Eve - eve at sender.test" <r.')
    assert verified_by_dkimpy(arrived, keys) == [True, True]
