"""The pages of a destination's OpenPGP key."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from accounts.models import User
from core.audit import AuditEntry
from core.outgoing import Answer
from mail.encryption import wkd
from mail.encryption.certificates import KEY_MAX
from mail.encryption.keys import give_key
from mail.models import DestinationKey
from tests.rig.openpgp import ALICE, FINGERPRINT, PUBLIC_KEY

pytestmark = pytest.mark.django_db(transaction=True)

SHOWN = " ".join(FINGERPRINT.upper()[at : at + 4] for at in range(0, 40, 4))


@pytest.fixture
def address(alice: User) -> EmailAddress:
    return EmailAddress.objects.get(user=alice)


@pytest.fixture
def key(address: EmailAddress) -> DestinationKey:
    made = give_key(address, PUBLIC_KEY.encode())
    mail.outbox.clear()
    return made


@pytest.fixture
def url(address: EmailAddress) -> str:
    return f"/addresses/{address.pk}/key/"


def test_a_pasted_key_is_used_and_shown_by_its_fingerprint(browser: Client, url: str) -> None:
    assert b"Give a key" in browser.get(url).content

    answer = browser.post(url, {"text": f"My key:\r\n{PUBLIC_KEY}"}, follow=True)

    assert SHOWN in answer.content.decode()
    assert f"Mail to {ALICE} is encrypted from now on." in answer.content.decode()
    assert "BEGIN PGP" not in answer.content.decode().replace("“-----BEGIN PGP PUBLIC KEY BLOCK-----”", "")
    assert DestinationKey.objects.get().fingerprint == FINGERPRINT
    assert len(mail.outbox) == 1
    assert b"Encrypted" in browser.get("/addresses/").content


def test_a_key_is_given_as_a_file(browser: Client, url: str) -> None:
    browser.post(url, {"file": SimpleUploadedFile("key.asc", PUBLIC_KEY.encode())})

    assert DestinationKey.objects.get().fingerprint == FINGERPRINT


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({}, "Paste your key, or choose a file."),
        ({"text": "  "}, "Paste your key, or choose a file."),
        ({"text": "hello"}, "This is not an OpenPGP public key."),
        ({"text": "-----BEGIN PGP PRIVATE KEY BLOCK-----"}, "This is a secret key."),
        ({"text": "x" * (KEY_MAX + 1)}, "The key is larger than 64 KiB."),
        ({"text": PUBLIC_KEY + PUBLIC_KEY}, "These are several keys."),
        ({"text": "\0"}, "Null characters are not allowed."),
    ],
)
def test_what_is_no_key_is_refused_in_words(
    browser: Client, url: str, data: dict[str, str], sentence: str
) -> None:
    answer = browser.post(url, data)

    assert answer.status_code == 422
    assert escape(sentence) in answer.content.decode()
    assert not DestinationKey.objects.exists()


def test_a_secret_key_that_was_given_by_mistake_is_in_no_page(browser: Client, url: str) -> None:
    answer = browser.post(url, {"text": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nc2VjcmV0"})

    assert b"This is a secret key." in answer.content
    assert b"c2VjcmV0" not in answer.content


def test_a_file_that_is_too_large_is_refused(browser: Client, url: str) -> None:
    answer = browser.post(url, {"file": SimpleUploadedFile("key.asc", b"x" * (KEY_MAX + 1))})

    assert answer.status_code == 422
    assert b"larger than 64 KiB" in answer.content


def test_text_and_file_at_once_are_refused(browser: Client, url: str) -> None:
    file = SimpleUploadedFile("key.asc", PUBLIC_KEY.encode())

    assert browser.post(url, {"text": PUBLIC_KEY, "file": file}).status_code == 422


def test_a_body_that_is_too_large_is_not_read(browser: Client, url: str) -> None:
    answer = browser.post(url, {"text": "x" * 2_000_000})

    assert answer.status_code == 413


def test_a_key_is_looked_up(browser: Client, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wkd, "request", lambda url, **_limits: Answer(200, PUBLIC_KEY.encode(), is_cut=False))

    answer = browser.post(f"{url}look-up/", follow=True)

    assert SHOWN in answer.content.decode()


def test_a_key_that_is_not_found_is_said_so(
    browser: Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wkd, "request", lambda url, **_limits: Answer(404, b"", is_cut=False))

    answer = browser.post(f"{url}look-up/", follow=True)

    assert b"No key for this address was found" in answer.content
    assert not DestinationKey.objects.exists()


def test_how_a_key_is_used_is_chosen(browser: Client, url: str, key: DestinationKey) -> None:
    browser.post(f"{url}use/", {"hides_subject": "on", "otherwise": "clear"})

    key.refresh_from_db()
    assert (key.is_used, key.hides_subject, key.otherwise) == (False, True, "clear")
    assert b"Key not in use" in browser.get("/addresses/").content


def test_a_choice_that_there_is_not_is_refused(browser: Client, url: str, key: DestinationKey) -> None:
    answer = browser.post(f"{url}use/", {"otherwise": "lose"})

    assert answer.status_code == 422
    key.refresh_from_db()
    assert key.is_used


def test_without_a_key_there_is_nothing_to_choose(browser: Client, url: str) -> None:
    answer = browser.post(f"{url}use/", {"otherwise": "hold"}, follow=True)

    assert b"This address has no key." in answer.content


def test_a_key_is_removed_once_that_is_confirmed(browser: Client, url: str, key: DestinationKey) -> None:
    assert SHOWN in browser.get(f"{url}remove/").content.decode()
    assert DestinationKey.objects.exists()

    answer = browser.post(f"{url}remove/", follow=True)

    assert b"is no longer encrypted" in answer.content
    assert not DestinationKey.objects.exists()
    assert len(mail.outbox) == 1


@pytest.mark.parametrize("path", ["", "look-up/", "use/", "remove/"])
def test_a_strangers_address_does_not_exist(
    client: Client, mallory: User, url: str, key: DestinationKey, path: str
) -> None:
    client.post("/accounts/login/", {"login": mallory.email, "password": "mallory-password-1"})

    answer = client.post(url + path, {"text": PUBLIC_KEY, "otherwise": "clear"})

    assert answer.status_code == 404
    key.refresh_from_db()
    assert (key.is_used, key.otherwise) == (True, "hold")


@pytest.mark.parametrize("path", ["", "look-up/", "use/", "remove/"])
def test_a_change_needs_a_recent_sign_in(browser: Client, url: str, key: DestinationKey, path: str) -> None:
    with time_machine.travel(timezone.now() + timedelta(days=1)):
        answer: Any = browser.post(url + path, {"text": PUBLIC_KEY, "otherwise": "clear"})

    assert answer.status_code == 302
    assert answer.url.startswith("/accounts/reauthenticate/")
    key.refresh_from_db()
    assert key.is_used


def test_an_address_that_is_not_verified_has_no_page(browser: Client, alice: User) -> None:
    address = EmailAddress.objects.create(user=alice, email="alice@new.test")

    assert browser.get(f"/addresses/{address.pk}/key/").status_code == 404


@pytest.mark.parametrize(
    ("days", "otherwise", "sentence"),
    [
        (10, "hold", "expires on"),
        (-1, "hold", "can no longer be used. Mail to it is held back."),
        (-1, "clear", "can no longer be used. Mail to it is sent without encryption."),
    ],
)
def test_every_page_warns_of_a_key_that_ends(
    browser: Client, key: DestinationKey, url: str, days: int, otherwise: str, sentence: str
) -> None:
    DestinationKey.objects.update(expires_at=timezone.now() + timedelta(days=days), otherwise=otherwise)

    page = browser.get("/tokens/").content.decode()

    assert f"The OpenPGP key of {ALICE} {sentence}" in page
    assert url in page


def test_no_page_warns_of_a_key_that_lasts_or_is_not_used(browser: Client, key: DestinationKey) -> None:
    assert b"OpenPGP key of" not in browser.get("/tokens/").content

    DestinationKey.objects.update(expires_at=timezone.now(), is_used=False)
    assert b"OpenPGP key of" not in browser.get("/tokens/").content


def test_admins_see_fingerprints_and_remove_keys_which_is_recorded(boss: Client, key: DestinationKey) -> None:
    listed = boss.get("/admin/mail/destinationkey/").content.decode()
    shown = boss.get(f"/admin/mail/destinationkey/{key.pk}/change/").content.decode()
    assert SHOWN in listed
    assert SHOWN in shown
    assert "BEGIN PGP" not in shown
    assert SHOWN in boss.get("/admin/mail/destinationkey/", {"q": SHOWN}).content.decode()
    assert SHOWN not in boss.get("/admin/mail/destinationkey/", {"q": "bob@example.com"}).content.decode()

    boss.post("/admin/mail/destinationkey/", {"action": "remove", "_selected_action": [key.pk]})

    assert not DestinationKey.objects.exists()
    entry = AuditEntry.objects.get(action="destinationkey.remove")
    assert (entry.subject, entry.subject_key) == (FINGERPRINT, str(key.pk))
    assert [message.to for message in mail.outbox] == [[ALICE]]
