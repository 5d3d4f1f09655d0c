"""Mail to destinations with a key: what arrives there, decrypted by GnuPG; and what does not."""

import logging
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from contacts.models import Contact
from domains.models import Domain
from mail.delivery import encrypting
from mail.delivery.encrypting import is_encrypted
from mail.delivery.handover import Answer, Head, Message
from mail.delivery.hiding import split
from mail.delivery.lookups import Lookups
from mail.delivery.message import header_fields
from mail.delivery.next_hop import Refused
from mail.delivery.resending import resend, with_facts
from mail.delivery.resolve import resolve
from mail.encryption.certificates import EncryptionAway
from mail.encryption.keys import give_key
from mail.models import Activity, Caution, Delivery, DestinationKey, Event, FailedDelivery, ReturnedMessage
from tests.rig.dkim_keys import published_keys
from tests.rig.dkim_verifiers import verified_by_dkimpy
from tests.rig.mail_doors import Hop, Process, take
from tests.rig.odd_messages import CANARY, HEADER, ODD_MESSAGES, SUBJECT, TEXT
from tests.rig.openpgp import ALICE, GnuPG, armoured_part
from tests.rig.ruling import condition, rule

pytestmark = pytest.mark.django_db(transaction=True)

CONTENT = HEADER + b"\r\n" + TEXT
ARMOURED = b"-----BEGIN PGP MESSAGE-----\r\n\r\nx\r\n-----END PGP MESSAGE-----\r\n"
FORGED = b"Authentication-Results: mx.example.com; dmarc=fail header.from=sender.test\r\n"


@pytest.fixture
def key(alice: User, gpg: GnuPG) -> DestinationKey:
    return give_key(EmailAddress.objects.get(user=alice), gpg.alice)


@pytest.fixture
def alias(alice: User, key: DestinationKey) -> Alias:
    return issue(owner=alice)


@pytest.fixture
def hidden(alias: Alias) -> Alias:
    alias.edit(hides_replies=True)
    return alias


def sent(alias: Alias, content: bytes = CONTENT, sender: str = "eve@sender.test") -> bytes:
    """What arrives when the message is forwarded."""
    hop = Hop()
    assert take(Message(sender, content, "x", "LMTP"), resolve(alias.address), hop) is Answer.DONE
    ((_sender, _recipient, arrived),) = hop.sent
    return arrived


def parsed(message: bytes) -> EmailMessage:
    return message_from_bytes(message, policy=policy.default)


def body_of(entity: bytes) -> bytes:
    """What follows the header."""
    _fields, start = split(entity)
    return entity[start:]


def test_a_forward_is_encrypted_and_reads_as_it_was_sent(alias: Alias, gpg: GnuPG) -> None:
    arrived = sent(alias)

    assert CANARY not in arrived
    assert gpg.decrypt(armoured_part(arrived)) == b"\r\n" + TEXT
    read = parsed(arrived)
    assert read["X-Anonmail-Encryption"] == "pgp"
    assert read["X-Anonmail-Alias"] == alias.address
    assert (read["Subject"], read["Message-ID"]) == (SUBJECT.decode(), "<1@sender.test>")
    assert all(len(line) <= 998 for line in arrived.split(b"\r\n"))
    assert b"\n" not in arrived.replace(b"\r\n", b"")


def test_it_comes_from_the_alias_and_is_answered_directly(alias: Alias) -> None:
    """The author's own signature ends with the encryption: from their domain, DMARC would refuse it."""
    read = parsed(sent(alias))

    assert read["From"] == f'"Eve - eve at sender.test" <{alias.address}>'
    assert read["Reply-To"] == "Eve <eve@sender.test>"
    assert not Contact.objects.exists()


def test_whom_the_author_wants_answered_stays(alias: Alias) -> None:
    read = parsed(sent(alias, b"Reply-To: team@sender.test\r\nSender: s@sender.test\r\n" + CONTENT))

    assert (read["Reply-To"], read["Sender"]) == ("team@sender.test", None)


def test_a_hidden_forward_keeps_its_reverse_addresses(hidden: Alias, gpg: GnuPG) -> None:
    arrived = sent(hidden)

    eve = Contact.objects.get(address="eve@sender.test")
    read = parsed(arrived)
    assert eve.reverse_address in read["From"]
    assert read["X-Anonmail-Replies"] == "hidden"
    assert gpg.decrypt(armoured_part(arrived)).endswith(TEXT)


@pytest.mark.parametrize("hides", [False, True])
def test_what_is_sent_has_our_signature(
    alias: Alias, example_com: Domain, settings: Settings, *, hides: bool
) -> None:
    settings.MAIL_DKIM = "ours"
    keys = published_keys(example_com)
    alias.edit(hides_replies=hides)

    arrived = sent(alias, b"DKIM-Signature: v=1; d=sender.test; h=from; b=x\r\n" + CONTENT)

    assert arrived.lower().count(b"\r\ndkim-signature:") + arrived.lower().startswith(b"dkim-") == len(keys)
    assert verified_by_dkimpy(arrived, keys)


def test_a_forged_author_stays_to_be_seen_and_is_not_signed(
    alias: Alias, example_com: Domain, settings: Settings, gpg: GnuPG
) -> None:
    settings.MAIL_DKIM, settings.MAIL_HOSTNAME = "ours", "mx.example.com"
    settings.MAIL_AUTHSERV_IDS = ["mx.example.com"]
    published_keys(example_com)

    arrived = sent(alias, FORGED + CONTENT)

    read = parsed(arrived)
    assert read["From"] == "Eve <eve@sender.test>"
    assert read["DKIM-Signature"] is None
    assert gpg.decrypt(armoured_part(arrived)).endswith(TEXT)


def test_a_hidden_subject_is_inside_alone(alias: Alias, key: DestinationKey, gpg: GnuPG) -> None:
    DestinationKey.objects.update(hides_subject=True)

    arrived = sent(alias, b"Thread-Topic: " + SUBJECT + b"\r\n" + CONTENT)

    assert SUBJECT not in arrived
    assert parsed(arrived)["Subject"] == "[...]"
    inside = parsed(gpg.decrypt(armoured_part(arrived)))
    assert inside["Subject"] == SUBJECT.decode()
    assert inside["From"] == parsed(arrived)["From"]
    assert inside.get_content_type() == "multipart/mixed"
    assert (inside.get_param("protected-headers"), inside.get_param("hp")) == ("v1", "cipher")
    assert "Subject: [...]" in inside.get_all("HP-Outer", [])
    (only,) = inside.iter_parts()
    assert only.get_payload(decode=True) == TEXT


@pytest.mark.parametrize("hides_subject", [False, True])
@pytest.mark.parametrize("hides_replies", [False, True])
def test_odd_messages_are_decrypted_octet_for_octet(
    alias: Alias, gpg: GnuPG, *, hides_replies: bool, hides_subject: bool
) -> None:
    """Over 200 kinds, each as it came and with reverse addresses, with its subject and without."""
    assert len(ODD_MESSAGES) > 200
    DestinationKey.objects.update(hides_subject=hides_subject)
    alias.edit(hides_replies=hides_replies)
    hop, resolution = Hop(), resolve(alias.address)
    with Process(hop) as process:
        for number, content in enumerate(ODD_MESSAGES.values()):
            message = Message("eve@sender.test", content, f"x{number}", "LMTP")
            assert process.take(message, resolution) is Answer.DONE
    arrived = [message for _sender, _recipient, message in hop.sent]
    assert len(arrived) == len(ODD_MESSAGES)

    decrypted = gpg.decrypt_all([armoured_part(message) for message in arrived])

    wrong = []
    for (name, content), message, inside in zip(ODD_MESSAGES.items(), arrived, decrypted, strict=True):
        body = body_of(content)
        found = body_of(inside)
        if hides_subject:
            boundary = parsed(inside).get_param("boundary")
            assert isinstance(boundary, str)
            begin, end = f"--{boundary}\r\n".encode(), f"\r\n--{boundary}--\r\n".encode()
            part = found.removeprefix(b"\r\n").removeprefix(begin).removesuffix(end)
            found = part[part.index(b"\r\n\r\n") + 4 :] if not part.startswith(b"\r\n") else part[2:]
        described = [field.octets for field in split(content)[0] if field.name.startswith("content-")]
        is_whole = found == body and all(octets in inside for octets in described)
        is_secret = CANARY not in message and not (hides_subject and SUBJECT in message)
        if not (is_whole and is_secret):
            wrong.append((name, is_whole, is_secret))
    assert wrong == []


@pytest.mark.parametrize(
    ("described", "body", "is_one"),
    [
        (b'multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x', TEXT, True),
        (b"Multipart/Encrypted; boundary=x", TEXT, True),
        (b"application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", TEXT, True),
        (b'application/x-pkcs7-mime; smime-type="authEnveloped-data"', TEXT, True),
        (b"application/pkcs7-mime; smime-type=signed-data", TEXT, False),
        (b"application/pkcs7-mime", TEXT, False),
        (b"text/plain", ARMOURED, True),
        (b"text/plain", b"\r\n" + ARMOURED + b"\r\n", True),
        (b"text/plain", b"-----BEGIN PGP MESSAGE-----\r\n" + TEXT, False),
        (b"text/plain", ARMOURED + TEXT + ARMOURED, False),
        (b"text/plain", TEXT, False),
        (b"multipart/signed; boundary=x", TEXT, False),
        (b"multipart/mixed; x=multipart/encrypted", TEXT, False),
    ],
)
def test_what_is_encrypted_already_stays_as_it_is(
    alias: Alias, described: bytes, body: bytes, *, is_one: bool
) -> None:
    content = HEADER + b"MIME-Version: 1.0\r\nContent-Type: " + described + b"\r\n\r\n" + body

    arrived = sent(alias, content)

    assert arrived.endswith(content) is is_one
    assert is_encrypted(*_split(content)) is is_one


def _split(content: bytes) -> tuple[Any, bytes]:
    fields, start = split(content)
    return fields, content[start:]


def test_an_alias_may_be_left_out(alias: Alias) -> None:
    alias.edit(skips_encryption=True)

    assert sent(alias).endswith(CONTENT)


def test_a_key_that_is_not_in_use_encrypts_nothing(alias: Alias) -> None:
    DestinationKey.objects.update(is_used=False)

    assert sent(alias).endswith(CONTENT)


def test_only_the_destination_with_a_key_gets_it_encrypted(alias: Alias, alice: User, gpg: GnuPG) -> None:
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias.set_destinations([ALICE, "alice@home.test"])
    hop = Hop()

    assert take(Message("eve@sender.test", CONTENT, "x", "LMTP"), resolve(alias.address), hop) is Answer.DONE

    arrived = {recipient: content for _sender, recipient, content in hop.sent}
    assert arrived["alice@home.test"].endswith(CONTENT)
    assert gpg.decrypt(armoured_part(arrived[ALICE])).endswith(TEXT)


def test_where_a_rule_sends_mail_its_key_counts(alias: Alias, alice: User, gpg: GnuPG) -> None:
    """To the address without a key in clear, and from there to the one with a key encrypted."""
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias.set_destinations([home.email])
    hop = Hop()
    assert taken(alias, hop) is Answer.DONE
    is_secret = condition("subject", "contains", "secret")
    rule(alice, is_secret, destinations=[EmailAddress.objects.get(email=ALICE)], subject="[Shop] {{subject}}")

    assert taken(alias, hop, CONTENT.replace(b"<1@", b"<2@")) is Answer.DONE

    (_to, first, in_clear), (_to, second, encrypted) = hop.sent
    assert (first, second) == (home.email, ALICE)
    assert in_clear.endswith(CONTENT)
    assert CANARY not in encrypted
    assert parsed(encrypted)["Subject"] == f"[Shop] {SUBJECT.decode()}"
    assert gpg.decrypt(armoured_part(encrypted)).endswith(TEXT)


# --- Keys that cannot be used --------------------------------------------------------------------


def expire(otherwise: str) -> None:
    DestinationKey.objects.update(expires_at=timezone.now() - timedelta(minutes=1), otherwise=otherwise)


def taken(alias: Alias, hop: Hop, content: bytes = CONTENT) -> Answer:
    return take(Message("eve@sender.test", content, "x", "LMTP"), resolve(alias.address), hop)


def test_mail_is_held_back_while_the_key_has_expired(alias: Alias) -> None:
    expire("hold")
    hop = Hop()

    assert taken(alias, hop) is Answer.PAUSED

    assert (hop.sent, Delivery.objects.count(), Activity.objects.count()) == ([], 0, 0)


def test_mail_goes_on_once_the_key_is_renewed(alias: Alias, alice: User, gpg: GnuPG) -> None:
    expire("hold")
    assert taken(alias, Hop()) is Answer.PAUSED
    give_key(EmailAddress.objects.get(user=alice), gpg.alice)

    assert gpg.decrypt(armoured_part(sent(alias))).endswith(TEXT)


def test_mail_is_sent_in_clear_if_its_owner_wants_that_and_says_so(alias: Alias) -> None:
    expire("clear")

    arrived = sent(alias)

    assert arrived.endswith(CONTENT)
    assert parsed(arrived)["X-Anonmail-Encryption"] == "none; the key cannot be used"
    assert Activity.objects.get().caution == Caution.CLEAR


@pytest.mark.parametrize(
    ("otherwise", "answer", "copies"), [("hold", Answer.LATER, 0), ("clear", Answer.DONE, 1)]
)
def test_a_key_that_the_library_refuses_is_as_one_that_has_expired(
    alias: Alias, monkeypatch: pytest.MonkeyPatch, otherwise: str, answer: Answer, copies: int
) -> None:
    DestinationKey.objects.update(otherwise=otherwise, certificate=b"\xc6\x01x")
    hop = Hop()

    assert taken(alias, hop) is answer

    assert len(hop.sent) == copies
    assert Delivery.objects.filter(accepted=None).count() == 0


@pytest.mark.parametrize("error", [EncryptionAway, MemoryError, RuntimeError])
def test_nothing_goes_in_clear_because_this_machine_has_no_room(
    alias: Alias, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    DestinationKey.objects.update(otherwise="clear")

    def fail(*_arguments: object) -> bytes:
        raise error

    monkeypatch.setattr(encrypting, "encrypt", fail)
    hop = Hop()

    assert taken(alias, hop) is Answer.LATER

    assert (hop.sent, Delivery.objects.count()) == ([], 0)


def test_the_other_destination_gets_what_one_with_an_expired_key_does_not(alias: Alias, alice: User) -> None:
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias.set_destinations([ALICE, "alice@home.test"])
    expire("hold")
    hop = Hop()

    assert taken(alias, hop) is Answer.PAUSED

    assert [recipient for _sender, recipient, _content in hop.sent] == ["alice@home.test"]


def test_a_key_that_is_removed_meanwhile_is_not_used(alias: Alias, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(self: Lookups, key_id: int) -> None:
        return None

    monkeypatch.setattr(Lookups, "destination_key", gone)

    assert sent(alias).endswith(CONTENT)


# --- Doors, reports, logs --------------------------------------------------------------------------


def test_the_milter_hands_a_message_for_a_destination_with_a_key_over(alias: Alias) -> None:
    head = Head("eve@sender.test", list(header_fields(CONTENT)), "x", "MILTER")
    with Process(Hop()) as process:
        found = process.runner.run(process.forwarder.redirect(head, resolve(alias.address), alias.pk))

    assert found is None
    assert not Activity.objects.exists()


def test_a_message_that_comes_back_is_kept_as_it_was_sent_encrypted(alias: Alias) -> None:
    hop = Hop(answers={ALICE: Refused("5.7.1", "no")})

    taken(alias, hop)

    activity = Activity.objects.get()
    assert activity.event == Event.BOUNCE
    assert CANARY.decode() not in activity.reason


def test_what_was_sent_is_not_logged(
    alias: Alias, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> bytes:
        raise RuntimeError(CONTENT.decode())

    monkeypatch.setattr(encrypting, "encrypt", fail)
    with caplog.at_level(logging.DEBUG):
        taken(alias, Hop())

    assert "RuntimeError" in caplog.text
    assert CANARY.decode() not in caplog.text
    assert ALICE not in caplog.text


@pytest.fixture
def failed(alias: Alias, settings: Settings) -> FailedDelivery:
    activity = Activity.objects.create(alias=alias, event=Event.BOUNCE, status="5.2.2")
    ReturnedMessage.keep(activity, CONTENT)
    return FailedDelivery.objects.newest_first().get()


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> Hop:
    hop = Hop()
    monkeypatch.setattr("mail.delivery.resending.configured_next_hop", lambda: hop)
    return hop


def to(key: DestinationKey) -> list[EmailAddress]:
    """The destination as it is now."""
    return list(with_facts(EmailAddress.objects.filter(pk=key.pk)))


def test_a_message_that_is_sent_again_is_encrypted_for_a_destination_with_a_key(
    failed: FailedDelivery, key: DestinationKey, once: Hop, gpg: GnuPG
) -> None:
    assert resend(failed, to(key))

    ((_sender, _recipient, arrived),) = once.sent
    assert CANARY not in arrived
    assert gpg.decrypt(armoured_part(arrived)).endswith(TEXT)
    assert parsed(arrived)["Reply-To"] == "Eve <eve@sender.test>"


def test_a_forged_author_stays_to_be_seen_when_the_message_is_sent_again(
    alias: Alias, key: DestinationKey, once: Hop, settings: Settings
) -> None:
    settings.MAIL_AUTHSERV_IDS = ["mx.example.com"]
    activity = Activity.objects.create(alias=alias, event=Event.BOUNCE, status="5.2.2")
    ReturnedMessage.keep(activity, FORGED + CONTENT)

    assert resend(FailedDelivery.objects.newest_first().get(), to(key))

    assert parsed(once.sent[0][2])["From"] == "Eve <eve@sender.test>"


def test_a_message_is_not_sent_again_in_clear_while_mail_is_held_back(
    failed: FailedDelivery, key: DestinationKey, once: Hop
) -> None:
    expire("hold")
    assert not resend(failed, to(key))
    assert once.sent == []

    expire("clear")
    assert resend(failed, to(key))
    assert once.sent[0][2].endswith(CONTENT)


def test_a_large_message_is_encrypted_in_a_process_of_its_own(alias: Alias, gpg: GnuPG) -> None:
    content = HEADER + b"\r\n" + (b"0123456789abcdef" * 4 + b"\r\n") * 300_000

    arrived = sent(alias, content)

    assert gpg.decrypt(armoured_part(arrived)).endswith(body_of(content))
