"""Giving destinations keys, and telling of their end."""

from datetime import UTC, datetime, timedelta
from smtplib import SMTPRecipientsRefused

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.management import call_command
from django.utils import timezone

from accounts.models import User
from core.exceptions import RateLimited
from mail.encryption import keys
from mail.encryption.certificates import EncryptionAway, UnusableKey, read
from mail.encryption.keys import (
    AddressGone,
    NotVerifiedYet,
    give_key,
    remove_key,
    report_ending_keys,
    use_key,
)
from mail.models import KEY_WARNING, DestinationKey
from tests.rig.openpgp import ALICE, GnuPG

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def address(alice: User) -> EmailAddress:
    return EmailAddress.objects.get(user=alice)


@pytest.fixture
def key(address: EmailAddress, gpg: GnuPG) -> DestinationKey:
    made = give_key(address, gpg.alice)
    mail.outbox.clear()
    return made


def test_a_key_is_stored_without_armour(address: EmailAddress, gpg: GnuPG) -> None:
    given = give_key(address, gpg.alice)

    key = DestinationKey.objects.get()
    assert key == given
    assert bytes(key.certificate) == read(gpg.alice).octets
    assert (key.is_used, key.hides_subject, key.otherwise, key.expires_at) == (True, False, "hold", None)


def test_a_fingerprint_is_shown_as_other_programs_do(key: DestinationKey, gpg: GnuPG) -> None:
    assert key.shown_fingerprint.replace(" ", "").lower() == gpg.fingerprint(ALICE)
    assert [len(group) for group in key.shown_fingerprint.split()] == [4] * 10


def test_another_key_takes_the_first_ones_place_and_is_used_in_the_same_way(
    key: DestinationKey, address: EmailAddress, gpg: GnuPG
) -> None:
    use_key(key, is_used=False, hides_subject=True, otherwise="clear")
    other = gpg.make("newer@example.com")

    give_key(address, other)

    replaced = DestinationKey.objects.get()
    assert replaced.fingerprint == read(other).fingerprint
    assert (replaced.is_used, replaced.hides_subject, replaced.otherwise) == (True, True, "clear")


def test_a_key_that_is_refused_leaves_the_first_one(key: DestinationKey, address: EmailAddress) -> None:
    with pytest.raises(UnusableKey):
        give_key(address, b"no key")

    assert DestinationKey.objects.get() == key


def test_only_a_verified_address_has_a_key(address: EmailAddress, gpg: GnuPG) -> None:
    EmailAddress.objects.filter(pk=address.pk).update(verified=False)
    address.refresh_from_db()

    with pytest.raises(NotVerifiedYet):
        give_key(address, gpg.alice)


def test_keys_are_given_some_times_an_hour(
    address: EmailAddress, gpg: GnuPG, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PER_HOUR", 2)
    for _each in range(2):
        with pytest.raises(UnusableKey):
            give_key(address, b"")

    with pytest.raises(RateLimited):
        give_key(address, gpg.alice)


def test_the_owner_is_told_of_each_change(address: EmailAddress, gpg: GnuPG) -> None:
    key = give_key(address, gpg.alice)
    use_key(key, is_used=False)
    use_key(key, is_used=True, hides_subject=True)
    assert remove_key(address)
    assert not remove_key(address)

    subjects = [message.subject for message in mail.outbox]
    assert [subject.partition(": ")[2] for subject in subjects] == [
        f"mail to {ALICE} is encrypted",
        f"mail to {ALICE} is no longer encrypted",
        f"mail to {ALICE} is no longer encrypted",
    ]
    assert all(message.to == [ALICE] for message in mail.outbox)
    assert all(key.shown_fingerprint in message.body for message in mail.outbox)


def test_a_key_goes_with_its_address(key: DestinationKey, address: EmailAddress) -> None:
    address.delete()

    assert not DestinationKey.objects.exists()


def test_an_owner_is_told_once_before_the_end_and_once_after_it(key: DestinationKey) -> None:
    ends = datetime(2027, 5, 1, tzinfo=UTC)
    DestinationKey.objects.update(expires_at=ends)
    said = []

    for moment in (
        ends - KEY_WARNING - timedelta(days=1),
        ends - KEY_WARNING,
        ends - timedelta(days=3),
        ends,
        ends + timedelta(days=30),
    ):
        with time_machine.travel(moment, tick=False):
            said.append(report_ending_keys())

    assert said == [0, 1, 0, 1, 0]
    soon, over = mail.outbox
    assert soon.subject == f"Anonmail: the key of {ALICE} expires soon"
    assert "From then on, mail to it is held back" in soon.body
    assert over.subject == f"Anonmail: the key of {ALICE} can no longer be used"
    assert "Mail to it is held back" in over.body
    assert all(f"/addresses/{key.pk}/key/" in message.body for message in mail.outbox)


def test_a_notice_says_what_the_owner_has_chosen(key: DestinationKey) -> None:
    DestinationKey.objects.update(expires_at=timezone.now(), otherwise="clear")

    call_command("report_ending_keys", verbosity=0)

    assert "sent without encryption, as you chose" in mail.outbox[0].body


def test_nobody_is_told_of_a_key_that_is_not_in_use_or_of_an_inactive_owner(
    key: DestinationKey, alice: User
) -> None:
    DestinationKey.objects.update(expires_at=timezone.now())
    alice.deactivate()
    assert report_ending_keys() == 0
    alice.activate()
    use_key(key, is_used=False)
    mail.outbox.clear()

    assert report_ending_keys() == 0
    assert not mail.outbox


def test_whoever_could_not_be_told_is_told_the_next_time_and_the_others_now(
    key: DestinationKey, mallory: User, gpg: GnuPG, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_key(EmailAddress.objects.get(user=mallory), gpg.alice)
    DestinationKey.objects.update(expires_at=timezone.now())

    def away(template: str, to: str, *_arguments: object, **_more: object) -> None:
        if to == ALICE:
            raise SMTPRecipientsRefused({to: (550, b"no")})

    with monkeypatch.context() as patch:
        patch.setattr(keys, "send_template", away)
        assert report_ending_keys() == 1

    assert report_ending_keys() == 1


def test_a_key_that_a_later_library_refuses_ends_and_its_owner_is_told(
    key: DestinationKey, mallory: User, gpg: GnuPG
) -> None:
    other = give_key(EmailAddress.objects.get(user=mallory), gpg.alice)
    mail.outbox.clear()
    DestinationKey.objects.filter(pk=key.pk).update(certificate=b"\xc6\x01x")

    assert report_ending_keys() == 1

    key.refresh_from_db()
    other.refresh_from_db()
    assert (key.is_over, other.is_over) == (True, False)
    (told,) = mail.outbox
    assert told.to == [ALICE]
    assert "too weak by now" in told.body


def test_an_address_that_is_removed_meanwhile_gets_no_key(address: EmailAddress, gpg: GnuPG) -> None:
    EmailAddress.objects.filter(pk=address.pk).delete()

    with pytest.raises(AddressGone):
        give_key(address, gpg.alice)

    assert not mail.outbox


def test_a_renewed_key_is_told_of_again(key: DestinationKey, address: EmailAddress, gpg: GnuPG) -> None:
    DestinationKey.objects.update(expires_at=timezone.now())
    report_ending_keys()
    give_key(address, gpg.alice)
    DestinationKey.objects.update(expires_at=timezone.now())

    assert report_ending_keys() == 1


def test_no_key_ends_because_this_machine_has_no_room(
    key: DestinationKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_no_room(*_given: bytes) -> bytes:
        raise EncryptionAway

    monkeypatch.setattr(keys, "encrypt", has_no_room)

    assert keys.end_refused_keys() == 0
    key.refresh_from_db()
    assert not key.is_over
