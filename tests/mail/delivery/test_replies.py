"""Mail to reverse addresses: who may, what goes out, what is counted, and who is told."""

from collections.abc import Callable
from email import message_from_bytes
from email.utils import format_datetime

import dkim
import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.models import Alias
from contacts.models import Contact
from core.mailboxes import Mailbox
from domains.models import Domain
from mail.delivery.blocks import blocks
from mail.delivery.hiding import Incoming
from mail.delivery.next_hop import Pending, Refused
from mail.delivery.threads import original_id
from mail.models import Activity, Delivery, Event
from tests.rig.dkim_keys import published_keys
from tests.rig.mail_doors import Hop
from tests.rig.nameserver import FAILS, Nameserver
from tests.rig.replying import BOB, DOMAIN, OWN, SPF, Answer, Signer, figures, letter, preferences

pytestmark = pytest.mark.django_db(transaction=True)

Send = Callable[..., Answer]


def test_a_reply_goes_out_as_the_alias(alias: Alias, bob: Contact, send: Send, hop: Hop) -> None:
    assert send(bob.reverse_address, letter(bob.reverse_address)) == (250, b"2.0.0 Accepted")

    ((sender, recipient, content),) = hop.sent
    found = message_from_bytes(content)
    assert (recipient, found["From"], found["To"]) == (BOB, alias.address, '"Bob" <bob@sender.test>')
    assert original_id(alias.address, found["Message-ID"]) == "<1@laptop.home.test>"
    assert sender.startswith("b.")
    assert b"home.test" not in content
    assert b"127.0.0.1" not in content
    assert figures(bob) == (1, 1)
    assert bob.last_reply_at is not None
    activity = Activity.objects.get()
    assert (activity.event, activity.contact, activity.sender) == (Event.REPLY, bob, BOB)


def test_a_name_that_the_owner_has_given_a_correspondent_stays_here(
    bob: Contact, send: Send, hop: Hop
) -> None:
    bob.rename("Bob the bore")

    send(bob.reverse_address, letter(bob.reverse_address))

    assert message_from_bytes(hop.sent[0][2])["To"] == BOB


def test_a_reply_is_signed_with_the_aliass_key(
    example_com: Domain, bob: Contact, send: Send, hop: Hop
) -> None:
    keys = published_keys(example_com)
    records = {f"{key.record_name}.".encode(): key.record_text.encode() for key in keys}

    send(bob.reverse_address, letter(bob.reverse_address))

    content = hop.sent[0][2]
    assert [dkim.DKIM(content).verify(idx=n, dnsfunc=lambda name, **_: records[name]) for n in range(2)] == [
        True
    ] * 2


def test_a_reply_that_comes_again_is_sent_once(bob: Contact, send: Send, hop: Hop) -> None:
    content = letter(bob.reverse_address)

    assert [send(bob.reverse_address, content)[0] for _ in range(2)] == [250, 250]
    # Another copy of the same message.
    assert send(bob.reverse_address, b"X-Other: 1\r\n" + content)[0] == 250

    assert len(hop.sent) == 1
    assert figures(bob) == (1, 1)


def test_a_reply_that_the_next_hop_does_not_take_yet_is_tried_again(
    bob: Contact, send: Send, hop: Hop
) -> None:
    hop.answers[BOB] = Pending("busy")
    assert send(bob.reverse_address, letter(bob.reverse_address))[0] == 451
    assert figures(bob) == (0, 0)
    assert not Delivery.objects.exists()
    del hop.answers[BOB]

    assert send(bob.reverse_address, letter(bob.reverse_address))[0] == 250

    assert figures(bob) == (1, 1)


def test_a_correspondent_who_refuses_is_shown_to_the_owner(bob: Contact, send: Send, hop: Hop) -> None:
    hop.answers[BOB] = Refused("5.1.1", "550 5.1.1 no such user")

    assert send(bob.reverse_address, letter(bob.reverse_address)) == (550, b"5.7.1 Message refused")

    activity = Activity.objects.get()
    assert (activity.event, activity.contact, activity.status) == (Event.BOUNCE, bob, "5.1.1")
    assert figures(bob) == (0, 0)


def test_behind_a_queue_a_mail_tells_the_owner_that_the_correspondent_refuses(
    alice: User, bob: Contact, dns: Nameserver, send: Send, hop: Hop
) -> None:
    hop.answers[BOB] = Refused("5.1.1", "550 5.1.1 no such user")
    signed = Signer(dns).sign(letter(bob.reverse_address))
    User.objects.filter(pk=alice.pk).update(language="de")

    assert [send(bob.reverse_address, signed, OWN, "lmtp")[0] for _ in range(2)] == [250, 250]

    (notice,) = mail.outbox
    assert notice.to == [alice.email]
    assert "Diese Mailbox gibt es nicht." in notice.body
    assert Activity.objects.get().event == Event.BOUNCE


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_nobody_else_can_send(alice: User, bob: Contact, send: Send, hop: Hop, door: str) -> None:
    answer = send(
        bob.reverse_address, letter(bob.reverse_address, From="eve@evil.test"), "eve@evil.test", door
    )

    if door == "smtp":
        assert answer == (
            550,
            b"5.7.1 Nothing proves who sent it: no login, no SPF, no DKIM signature of your domain."
            b" Nothing was sent",
        )
    else:
        # Postfix would send its report to whoever is named as the sender.
        assert answer == (250, b"2.0.0 Accepted")
    assert hop.sent == []
    blocks.write()
    assert Activity.objects.get().event == Event.BLOCK
    assert figures(bob) == (0, 0)
    (notice,) = mail.outbox
    assert notice.to == [alice.email]
    assert BOB in notice.body


def test_the_owner_is_told_of_it_once_a_day(bob: Contact, send: Send) -> None:
    for number in range(3):
        send(bob.reverse_address, letter(bob.reverse_address, From=f"eve{number}@evil.test"))

    assert len(mail.outbox) == 1


def test_the_owners_address_alone_proves_nothing(bob: Contact, send: Send, hop: Hop) -> None:
    """From can be anything."""
    code, answer = send(bob.reverse_address, letter(bob.reverse_address), "eve@evil.test")

    assert code == 550
    assert b"Nothing proves who sent it" in answer
    assert hop.sent == []


def test_nobody_can_find_out_whose_the_alias_is(bob: Contact, dns: Nameserver, send: Send) -> None:
    """A correspondent finds the reverse address in quoted text."""
    dns.set(DOMAIN, 'TXT "v=spf1 ip4:192.0.2.1 -all"')

    answers = {
        send(bob.reverse_address, letter(bob.reverse_address, From=guess), "eve@evil.test")
        for guess in (OWN, "carol@home.test", "dave@evil.test")
    }

    assert len(answers) == 1
    dns.records[DOMAIN] = FAILS
    for guess in (OWN, "carol@home.test"):
        assert send(bob.reverse_address, letter(bob.reverse_address, From=guess), guess)[0] == 451


def test_who_has_proven_to_write_from_another_address_is_told(bob: Contact, send: Send, hop: Hop) -> None:
    other = "other@home.test"

    code, answer = send(bob.reverse_address, letter(bob.reverse_address, From=other), other)

    assert (code, hop.sent) == (550, [])
    assert b"From is not an address of yours" in answer


def test_another_host_may_not_send_for_the_domain(
    bob: Contact, dns: Nameserver, send: Send, hop: Hop
) -> None:
    dns.set(DOMAIN, 'TXT "v=spf1 ip4:192.0.2.1 -all"')

    assert send(bob.reverse_address, letter(bob.reverse_address))[0] == 550
    assert hop.sent == []


def test_while_the_dns_is_away_the_sender_tries_again(
    bob: Contact, dns: Nameserver, send: Send, hop: Hop
) -> None:
    dns.records[DOMAIN] = FAILS

    assert send(bob.reverse_address, letter(bob.reverse_address))[0] == 451
    assert hop.sent == []
    assert mail.outbox == []


class TestSignature:
    """DKIM alone: the envelope proves nothing."""

    @pytest.fixture
    def signer(self, dns: Nameserver) -> Signer:
        dns.set(DOMAIN, 'TXT "v=spf1 -all"')
        return Signer(dns)

    @pytest.mark.parametrize("door", ["smtp", "lmtp"])
    def test_it_is_enough(self, bob: Contact, signer: Signer, send: Send, hop: Hop, door: str) -> None:
        answer = send(bob.reverse_address, signer.sign(letter(bob.reverse_address)), OWN, door)

        assert answer[0] == 250
        assert len(hop.sent) == 1

    def test_another_domains_signature_is_not(
        self, bob: Contact, dns: Nameserver, send: Send, hop: Hop
    ) -> None:
        dns.set(DOMAIN, 'TXT "v=spf1 -all"')
        content = Signer(dns, "evil.test").sign(letter(bob.reverse_address))

        assert send(bob.reverse_address, content)[0] == 550
        assert hop.sent == []

    @pytest.mark.parametrize(
        "change",
        [
            lambda content: content.replace(b"Hello", b"Howdy"),
            lambda content: content.replace(b"Subject: Hi", b"Subject: Ho"),
            lambda content: content.replace(b"s=s1", b"s=s2"),
        ],
    )
    def test_a_broken_one_is_not(
        self, bob: Contact, signer: Signer, send: Send, hop: Hop, change: Callable[[bytes], bytes]
    ) -> None:
        content = change(signer.sign(letter(bob.reverse_address)))

        assert send(bob.reverse_address, content)[0] == 550
        assert hop.sent == []

    def test_one_over_a_part_of_the_body_is_not(
        self, bob: Contact, signer: Signer, send: Send, hop: Hop
    ) -> None:
        content = signer.sign(letter(bob.reverse_address), length=True)

        assert send(bob.reverse_address, content + b"and more\r\n")[0] == 550
        assert hop.sent == []

    @pytest.mark.parametrize("missing", [b"to", b"subject", b"date", b"message-id"])
    def test_one_that_leaves_a_field_open_is_not(
        self, bob: Contact, signer: Signer, send: Send, hop: Hop, missing: bytes
    ) -> None:
        names = [name for name in (b"from", b"to", b"subject", b"date", b"message-id") if name != missing]
        code, answer = send(bob.reverse_address, signer.sign(letter(bob.reverse_address), *names))

        assert code == 550
        assert b"does not cover enough" in answer
        assert hop.sent == []

    def test_one_of_a_message_to_somebody_else_is_not(
        self, bob: Contact, signer: Signer, send: Send, hop: Hop
    ) -> None:
        """Somebody who got it hands it over again."""
        assert send(bob.reverse_address, signer.sign(letter("friend@sender.test")))[0] == 550
        assert hop.sent == []

    def test_one_of_long_ago_is_not(self, bob: Contact, signer: Signer, send: Send, hop: Hop) -> None:
        content = letter(
            bob.reverse_address, Date=format_datetime(timezone.now() - timezone.timedelta(days=5))
        )

        assert send(bob.reverse_address, signer.sign(content))[0] == 550
        assert hop.sent == []

    def test_while_the_dns_is_away_the_sender_tries_again(
        self, bob: Contact, signer: Signer, dns: Nameserver, send: Send, hop: Hop
    ) -> None:
        dns.records[f"s1._domainkey.{DOMAIN}"] = FAILS

        assert send(bob.reverse_address, signer.sign(letter(bob.reverse_address)))[0] == 451
        assert hop.sent == []


class TestServerInFront:
    """The field of a trusted server counts, and nothing is looked up."""

    @pytest.fixture(autouse=True)
    def _trusted(self, settings: Settings) -> None:
        settings.MAIL_AUTHSERV_IDS = ["mx.example.com"]

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("mx.example.com; spf=pass smtp.mailfrom=home.test", 250),
            ("mx.example.com; dmarc=pass header.from=home.test", 250),
            ("mx.example.com; spf=pass smtp.mailfrom=evil.test", 550),
            ("mx.example.com; dkim=pass header.d=evil.test", 550),
            ("mx.example.com; dkim=pass header.d=home.test", 550),  # where is that signature?
            ("mx.example.com; spf=pass smtp.mailfrom=home.test; dmarc=fail header.from=home.test", 550),
            ("mx.evil.test; spf=pass smtp.mailfrom=home.test", 550),
        ],
    )
    def test_its_words_decide(self, bob: Contact, send: Send, hop: Hop, text: str, code: int) -> None:
        content = f"Authentication-Results: {text}\r\n".encode() + letter(bob.reverse_address)

        assert send(bob.reverse_address, content)[0] == code
        assert len(hop.sent) == (code == 250)

    def test_its_good_signature_has_to_bind_the_message(
        self, bob: Contact, dns: Nameserver, send: Send, hop: Hop
    ) -> None:
        front = b"Authentication-Results: mx.example.com; dkim=pass header.d=home.test\r\n"
        signer = Signer(dns)

        assert send(bob.reverse_address, front + signer.sign(letter("friend@sender.test")))[0] == 550
        assert send(bob.reverse_address, front + signer.sign(letter(bob.reverse_address)))[0] == 250
        assert len(hop.sent) == 1


def test_only_the_aliass_destinations_may_reply_if_the_person_wants_that(
    alice: User, alias: Alias, bob: Contact, dns: Nameserver, send: Send, hop: Hop
) -> None:
    EmailAddress.objects.create(user=alice, email="alice@work.test", verified=True)
    dns.set("work.test", SPF)
    content = letter(bob.reverse_address, From="alice@work.test")
    assert send(bob.reverse_address, content, "alice@work.test")[0] == 250
    preferences(alice, strict_replies=True)
    again = content.replace(b"<1@", b"<2@")

    assert send(bob.reverse_address, again, "alice@work.test")[0] == 550
    assert len(hop.sent) == 1


def test_an_address_that_is_not_verified_may_not(alice: User, bob: Contact, send: Send, hop: Hop) -> None:
    EmailAddress.objects.filter(email=OWN).update(verified=False)

    assert send(bob.reverse_address, letter(bob.reverse_address))[0] == 550
    assert hop.sent == []


def test_what_would_show_the_owner_is_refused_with_the_reason(
    alice: User, bob: Contact, send: Send, hop: Hop
) -> None:
    content = letter(bob.reverse_address, body=f"ATTENDEE:mailto:{OWN}\r\n", Content_Type="text/calendar")

    told = (550, b"5.7.1 The calendar answer names your own address. Nothing was sent")
    assert send(bob.reverse_address, content) == told
    assert hop.sent == []
    # It was never sent, so it may be tried again.
    preferences(alice, allows_revealing=True)
    assert send(bob.reverse_address, content)[0] == 250


def test_behind_a_queue_the_owner_alone_gets_the_reason(
    bob: Contact, dns: Nameserver, send: Send, hop: Hop
) -> None:
    """A report goes to the envelope's sender, who may be anybody."""
    content = letter(bob.reverse_address, body=f"ATTENDEE:mailto:{OWN}\r\n", Content_Type="text/calendar")
    signed = Signer(dns).sign(content)

    assert send(bob.reverse_address, signed, OWN, "lmtp")[0] == 550
    assert mail.outbox == []
    assert send(bob.reverse_address, signed, "victim@sender.test", "lmtp")[0] == 250
    assert "calendar answer" in mail.outbox[0].body
    assert hop.sent == []


def test_a_report_to_a_reverse_address_is_dropped_and_counted(bob: Contact, send: Send, hop: Hop) -> None:
    assert send(bob.reverse_address, letter(bob.reverse_address), "")[0] == 250

    assert hop.sent == []
    assert mail.outbox == []
    blocks.write()
    assert Activity.objects.get().event == Event.BLOCK


def test_an_unknown_reverse_address_is_an_unknown_address(bob: Contact, send: Send) -> None:
    unknown = "r." + "a" * 26 + "@example.com"

    assert send(unknown, letter(unknown)) == (550, b"5.1.1 User unknown")


def test_a_person_can_send_so_many_a_day(bob: Contact, settings: Settings, send: Send, hop: Hop) -> None:
    settings.REPLIES_PER_DAY = 2
    for number in range(2):
        content = letter(bob.reverse_address, Message_ID=f"<{number}@home.test>")
        assert send(bob.reverse_address, content)[0] == 250

    code, answer = send(bob.reverse_address, letter(bob.reverse_address, Message_ID="<3@home.test>"))

    assert (code, answer[:24]) == (450, b"4.7.1 Too many messages ")
    # What was sent is still recognised.
    assert send(bob.reverse_address, content)[0] == 250
    assert len(hop.sent) == 2


def test_automatic_answers_go_to_a_correspondent_once_a_day(bob: Contact, send: Send, hop: Hop) -> None:
    codes = [
        send(
            bob.reverse_address,
            letter(bob.reverse_address, Message_ID=f"<{number}@home.test>", Auto_Submitted="auto-replied"),
        )[0]
        for number in range(3)
    ]

    assert codes == [250, 450, 450]
    assert message_from_bytes(hop.sent[0][2])["Auto-Submitted"] == "auto-replied"


def test_a_disabled_aliass_owner_can_still_write(alias: Alias, bob: Contact, send: Send, hop: Hop) -> None:
    alias.disable()

    assert send(bob.reverse_address, letter(bob.reverse_address))[0] == 250
    assert len(hop.sent) == 1


def test_a_reply_that_comes_back_is_told_to_the_owner_once(
    alice: User, bob: Contact, send: Send, hop: Hop
) -> None:
    send(bob.reverse_address, letter(bob.reverse_address))
    return_path = hop.sent[0][0]
    report = (
        b"From: MAILER-DAEMON@sender.test\r\nContent-Type: multipart/report; "
        b'report-type=delivery-status; boundary="x"\r\n\r\n--x\r\n'
        b"Content-Type: message/delivery-status\r\n\r\n"
        b"Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822; bob@sender.test\r\nAction: failed\r\n"
        b"Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n--x--\r\n"
    )

    assert [send(return_path, report, "")[0] for _ in range(2)] == [250, 250]

    (notice,) = mail.outbox
    assert notice.to == [alice.email]
    assert "There is no such mailbox." in notice.body
    assert BOB in notice.subject
    bounce = Activity.objects.get(event=Event.BOUNCE)
    assert (bounce.contact, bounce.status) == (bob, "5.1.1")
    assert len(hop.sent) == 1


def test_a_thread_holds_when_the_owner_follows_up(alias: Alias, bob: Contact, send: Send, hop: Hop) -> None:
    """The mailbox's own Message-ID in References would show its host: whatever that is."""
    first = letter(bob.reverse_address, Message_ID="<1@phone.invalid>")
    send(bob.reverse_address, first)
    send(
        bob.reverse_address,
        letter(bob.reverse_address, Message_ID="<2@laptop>", In_Reply_To="<1@phone.invalid>"),
    )

    one, two = (message_from_bytes(content) for _sender, _recipient, content in hop.sent)
    assert two["In-Reply-To"] == one["Message-ID"]
    assert b"phone.invalid" not in hop.sent[1][2]


def test_the_owner_finds_their_own_message_in_an_answer(
    alias: Alias, bob: Contact, send: Send, hop: Hop
) -> None:
    send(bob.reverse_address, letter(bob.reverse_address))
    seen = message_from_bytes(hop.sent[0][2])["Message-ID"]
    answer = f"From: {BOB}\r\nIn-Reply-To: {seen}\r\nReferences: <a@x.test> {seen}\r\n\r\nHi\r\n"

    incoming = Incoming(answer.encode(), BOB, alias.address)
    found = message_from_bytes(incoming.rewritten({BOB: Mailbox("", bob.reverse_address)}) + incoming.body)

    assert found["In-Reply-To"] == "<1@laptop.home.test>"
    assert found["References"].split() == ["<a@x.test>", seen, "<1@laptop.home.test>"]


def test_the_aliass_own_name_comes_before_the_persons(
    alice: User, alias: Alias, bob: Contact, send: Send, hop: Hop
) -> None:
    preferences(alice, reply_name="Alice @ home")
    send(bob.reverse_address, letter(bob.reverse_address))
    Alias.objects.filter(pk=alias.pk).update(name="The shop")
    send(bob.reverse_address, letter(bob.reverse_address, Message_ID="<2@home.test>"))

    first, second = (message_from_bytes(content)["From"] for _sender, _recipient, content in hop.sent)
    assert (first, second) == (f'"Alice at home" <{alias.address}>', f'"The shop" <{alias.address}>')
