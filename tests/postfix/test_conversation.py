"""Four messages through a real Postfix, two each way: what each side sees, and whether the thread holds."""

import re
import smtplib
from email.message import EmailMessage
from pathlib import Path

import pytest
from django.core import mail
from pytest_django import Settings

from accounts.models import User
from aliases.models import Alias, SenderFormat
from contacts.models import Contact
from core.addresses import is_same_without_tag
from domains.models import Domain
from mail.delivery.threads import original_id
from mail.models import Activity, Event
from tests.postfix.conftest import Site
from tests.postfix.sender import ACCEPTED, EVE, issue, settled, stranger
from tests.postfix.test_privacy import HIDDEN, assert_hidden
from tests.rig.conversing import APPLE_MAIL, OUTLOOK, THUNDERBIRD, Person, ids, read
from tests.rig.correspondents import contacts_for
from tests.rig.dkim_keys import published_keys
from tests.rig.dkim_verifiers import verified_by_dkimpy, verified_by_opendkim
from tests.rig.mta import Arrived
from tests.rig.nameserver import nameserver
from tests.rig.replying import preferences
from tests.rig.sasl import ASK_POLICY, signed_in, submission_service

LAPTOP, PASSWORD = "laptop.secret-home.test", "a-password-of-hers"
# Of the person, their mailbox, their computer and their programs; and fields that are ours alone.
TELLING = (
    *(HIDDEN, "hidden.person", "hidden person", "secret-home", "secret home", "alice", PASSWORD),
    *(LAPTOP, "192.0.2.77", "2001:db8", "smtpclient", "+0545", "esmtpsa", "authenticated"),
    *("thunderbird", "mozilla", "apple", "mac os", "autocrypt", "user-agent", "x-mailer", "originating"),
    *("organization", "content-language", "disposition-notification", "x-anonmail", "1c1f8b0a"),
)
# What the site's own Postfix writes as it sends.
HOP = re.compile(
    rb"Received: from mx\.example\.com \((localhost|unknown) \[127\.0\.0\.1\]\)\r\n"
    rb"\tby mx\.example\.com \(Postfix\) with E?SMTP(UTF8)?S? id \w+\r\n"
    rb"\tfor <eve@sender\.test>; [^\r\n]+\r\n"
)
BODIES = (
    "Grüße! \U0001f4ec\n\nFrom the shop.\n",
    "Danke, Eve.\n\n.\n..two dots\ntrailing space \n-- \nThe person\n",
    "Zürich then?\n",
    "Yes. " + "x" * 900 + "\n",
)


def on_the_wire(body: str) -> bytes:
    return body.replace("\n", "\r\n").encode()


@pytest.fixture
def alias(alice: User, example_com: Domain) -> Alias:
    """In its name is no word that is looked for."""
    alias = issue(alice, HIDDEN)
    alias.address, alias.hides_replies, alias.name = "shop.one@example.com", True, "The customer"
    alias.save()
    return alias


def assert_only_through_us(content: bytes, alias: Alias) -> None:
    """Whatever the person's program answers, it answers through the alias."""
    message = read(content)
    for name in set(message) - {"X-Anonmail-Author", "Message-ID", "In-Reply-To", "References", "Received"}:
        for address in re.findall(r"[^\s<>,;:\"]+@[\w.-]+", " ".join(map(str, message.get_all(name, [])))):
            is_reverse = Contact.objects.filter(alias=alias, reverse_address=address).exists()
            assert is_reverse or is_same_without_tag(address, alias.address), f"{name}: {address}"


def assert_refers(message: EmailMessage, expected: list[str]) -> None:
    assert ids(message, "In-Reply-To") == expected[-1:]
    assert ids(message, "References") == expected


@pytest.mark.parametrize("shown", [SenderFormat.AT, SenderFormat.NAME_ONLY])
def test_a_conversation_hides_the_person_and_keeps_its_thread(
    alice: User, alias: Alias, example_com: Domain, site: Site, tmp_path: Path, shown: str
) -> None:
    preferences(alice, sender_format=shown)
    keys = published_keys(example_com)
    eve, person = Person(f"Eve Sender <{EVE}>"), Person(f"Hidden Person <{HIDDEN}>")
    heard = []

    def from_eve(content: bytes) -> EmailMessage:
        with stranger(site) as sender:
            told = sender.send(alias.address, content=content, options="BODY=8BITMIME")
            heard.append(bytes(sender.heard))
        assert [answer[:9] for answer in told.data] == [ACCEPTED]
        return person.gets(arrived(HIDDEN))

    def from_person(port: int, content: bytes) -> EmailMessage:
        to = Contact.objects.get(alias=alias).reverse_address
        with signed_in(port, HIDDEN, PASSWORD, LAPTOP, "192.0.2.77") as program:
            assert program.sendmail(HIDDEN, [to], content, ["BODY=8BITMIME"]) == {}
        return eve.gets(arrived(EVE))

    def arrived(recipient: str) -> Arrived:
        nonlocal number
        number += 1
        last = settled(site, number)[-1]
        assert last.recipient == recipient
        return last

    number = 0
    with submission_service(site.postfix, {HIDDEN: PASSWORD}, ASK_POLICY) as port:
        first = from_eve(eve.writes(OUTLOOK, "<eve-1@sender.test>", alias.address, BODIES[0]))
        second = from_person(port, person.answers(THUNDERBIRD, f"<0815-1@{LAPTOP}>", first, BODIES[1]))
        third = from_eve(eve.answers(OUTLOOK, "<eve-2@sender.test>", second, BODIES[2]))
        fourth = from_person(port, person.answers(APPLE_MAIL, f"<0815-2@{LAPTOP}>", third, BODIES[3]))

    contact = Contact.objects.get()
    envelopes, contents = eve.saw[::2], eve.saw[1::2]
    # The person types bodies; the rest is ours, and the alias's name as it was chosen.
    for content, body in zip(contents, BODIES[1::2], strict=True):
        header, _line, typed = content.partition(b"\r\n\r\n")
        assert typed == on_the_wire(body)
        assert len(HOP.findall(header + b"\r\n")) == 1
        rest = HOP.sub(b"", header + b"\r\n")
        assert_hidden(
            rest, *TELLING, "127.0.0.1", "localhost", "received", "mx.example.com", contact.reverse_address
        )
    assert_hidden(b"\n".join([*heard, *eve.saw]), *TELLING)
    assert all(re.fullmatch(rb"b\.[\w.-]+@example\.com", sender) for sender in envelopes)
    for message in (second, fourth):
        assert str(message["From"]) == f"The customer <{alias.address}>"
        assert str(message["To"]) == f"Eve Sender <{EVE}>"
        assert message["Subject"] == "Re: Grüße"
        assert str(message["Date"]).endswith("+0000")
    # Eve's program finds her own messages and what she got.
    own = [original_id(alias.address, str(message["Message-ID"])) for message in (second, fourth)]
    assert own == [f"<0815-1@{LAPTOP}>", f"<0815-2@{LAPTOP}>"]
    sent = [str(message["Message-ID"]) for message in (first, second, third, fourth)]
    assert_refers(second, sent[:1])
    assert_refers(fourth, sent[:3])
    assert set(ids(fourth, "References")) <= eve.known
    # The person's program finds its own.
    assert ids(third, "In-Reply-To") == own[:1]
    assert ids(third, "References") == [sent[0], sent[1], own[0]]
    assert {sent[0], own[0]} <= person.known
    for content, body in zip(person.saw[1::2], BODIES[::2], strict=True):
        assert content.endswith(b"\r\n\r\n" + on_the_wire(body))
        assert_only_through_us(content, alias)
    name = {SenderFormat.AT: "Eve Sender - eve at sender.test", SenderFormat.NAME_ONLY: "Eve Sender"}
    for message in (first, third):
        (author,) = message["From"].addresses
        assert (author.display_name, author.addr_spec) == (name[shown], contact.reverse_address)
        assert message["X-Anonmail-Author"] == EVE
    # Each message that we made is signed, and another verifier than ours agrees.
    signed = {
        str(number): content[content.index(b"DKIM-Signature:") :]
        for number, content in enumerate([*contents, *person.saw[1::2]])
    }
    assert [verified_by_dkimpy(content, keys) for content in signed.values()] == [[True, True]] * 4
    assert verified_by_opendkim(tmp_path, signed, keys) == dict.fromkeys(signed, ["rsa", "ed25519"])
    alias.refresh_from_db()
    assert (alias.forwards, alias.replies, contact.forwards, contact.replies) == (2, 2, 2, 2)
    events = Activity.objects.order_by("pk").values_list("event", flat=True)
    assert list(events) == [Event.FORWARD, Event.REPLY] * 2


def test_another_account_of_the_same_postfix_is_not_the_owner(
    alice: User, alias: Alias, site: Site, settings: Settings
) -> None:
    mallory = "mallory@secret-home.test"
    contacts_for(alias.pk, [(EVE, "Eve")])
    eve = Contact.objects.get(alias=alias)
    forged = Person(f"Hidden Person <{HIDDEN}>")
    content = forged.writes(THUNDERBIRD, f"<0815-3@{LAPTOP}>", eve.reverse_address, BODIES[1])
    with nameserver({}) as dns, submission_service(site.postfix, {mallory: "m"}, ASK_POLICY) as port:
        settings.DNS_RESOLVERS = [f"127.0.0.1:{dns.port}"]
        with signed_in(port, mallory, "m", LAPTOP, "192.0.2.77") as program:
            assert program.sendmail(HIDDEN, [eve.reverse_address], content, ["BODY=8BITMIME"]) == {}

        assert settled(site, 0) == []

    eve.refresh_from_db()
    assert eve.replies == 0
    (notice,) = mail.outbox
    assert notice.to == [alice.email]


def test_a_wrong_password_does_not_open_the_submission_service(site: Site) -> None:
    """Or nothing would prove that the login in the others is one."""
    with submission_service(site.postfix, {HIDDEN: PASSWORD}, ASK_POLICY) as port:
        with (
            pytest.raises(smtplib.SMTPAuthenticationError),
            signed_in(port, HIDDEN, "wrong", LAPTOP, "192.0.2.77"),
        ):
            pass
        with signed_in(port, HIDDEN, PASSWORD, LAPTOP, "192.0.2.77"):
            pass


def test_addys_form_of_a_recipient_sends_from_the_alias_for_its_owner_alone(
    alice: User, alias: Alias, site: Site
) -> None:
    tagged = alias.address.replace("@", "+eve=sender.test@")
    eve, person = Person(f"Eve Sender <{EVE}>"), Person(f"Hidden Person <{HIDDEN}>")
    with submission_service(site.postfix, {HIDDEN: PASSWORD}, ASK_POLICY) as port:
        with signed_in(port, HIDDEN, PASSWORD, LAPTOP, "192.0.2.77") as program:
            content = person.writes(THUNDERBIRD, f"<0815-4@{LAPTOP}>", tagged, BODIES[1])
            assert program.sendmail(HIDDEN, [tagged], content, ["BODY=8BITMIME"]) == {}
        (outgoing,) = settled(site, 1)
    with stranger(site) as sender:
        told = sender.send(tagged, content=eve.writes(OUTLOOK, "<eve-1@sender.test>", tagged, BODIES[0]))

    _outgoing, incoming = settled(site, 2)

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    assert (outgoing.recipient, incoming.recipient) == (EVE, HIDDEN)
    message = eve.gets(outgoing)
    assert (message["From"], message["To"]) == (f"The customer <{alias.address}>", EVE)
    assert_hidden(b"\n".join(eve.saw), *TELLING, tagged)
    assert_only_through_us(incoming.content, alias)
    contact = Contact.objects.get()
    assert (contact.address, contact.forwards, contact.replies) == (EVE, 1, 1)
