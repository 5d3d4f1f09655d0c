"""Giving a destination an OpenPGP key, and what its owner sees of it afterwards."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import User
from core.outgoing import Unreachable
from mail.encryption import wkd
from mail.models import DestinationKey
from tests.e2e.conftest import PHONE, Visit
from tests.rig.openpgp import ALICE, FINGERPRINT, PUBLIC_KEY, GnuPG
from tests.rig.signing_in import signed_in

pytestmark = pytest.mark.django_db(transaction=True)

WIDE: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}


def shown(fingerprint: str) -> str:
    return " ".join(fingerprint.upper()[at : at + 4] for at in range(0, 40, 4))


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["desktop", "phone"])
def test_a_key_is_pasted_replaced_by_a_file_warned_of_and_removed(
    visit: Visit,
    alice: User,
    gpg: GnuPG,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: dict[str, Any],
) -> None:
    def away(*_arguments: object, **_limits: object) -> None:
        raise Unreachable("dns")

    monkeypatch.setattr(wkd, "request", away)
    page = visit(client=signed_in(alice), **size)
    page.goto("/addresses/")
    page.get_by_role("link", name="Encryption").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Encryption of mail to {ALICE}")

    page.get_by_role("button", name="Look the key up").click()
    expect(page.get_by_text("No key for this address was found")).to_be_visible()

    page.get_by_label("Your public key").fill(gpg.secret(ALICE).decode() if gpg.alice else "")
    page.get_by_role("button", name="Encrypt with this key").click()
    expect(page.get_by_text("This is a secret key. Never give it away")).to_be_visible()

    page.get_by_label("Your public key").fill(PUBLIC_KEY)
    page.get_by_role("button", name="Encrypt with this key").click()
    expect(page.get_by_text(f"Mail to {ALICE} is encrypted from now on.")).to_be_visible()
    expect(page.get_by_text(shown(FINGERPRINT))).to_be_visible()

    file = tmp_path / "key.asc"
    file.write_bytes(gpg.alice)
    page.get_by_label("Or a file").set_input_files(file)
    page.get_by_role("button", name="Replace the key").click()
    expect(page.get_by_text(shown(gpg.fingerprint(ALICE)))).to_be_visible()
    expect(page.get_by_text(shown(FINGERPRINT))).to_be_hidden()

    page.get_by_label("Hide the subject").check()
    page.get_by_label("Send mail without encryption").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    key = DestinationKey.objects.get()
    assert (key.is_used, key.hides_subject, key.otherwise) == (True, True, "clear")

    DestinationKey.objects.update(expires_at=timezone.now() - timedelta(days=1), otherwise="hold")
    page.goto("/")
    expect(page.get_by_text("can no longer be used. Mail to it is held back.")).to_be_visible()
    page.get_by_role("link", name="Renew the key").click()
    expect(page.get_by_text("Key expired")).to_be_visible()

    page.get_by_role("link", name="Remove the key").click()
    expect(page.get_by_text(key.shown_fingerprint)).to_be_visible()
    page.get_by_role("button", name="Remove the key").click()
    expect(page.get_by_text(f"Mail to {ALICE} is no longer encrypted.")).to_be_visible()
    expect(page.get_by_role("button", name="Encrypt with this key")).to_be_visible()
    assert not DestinationKey.objects.exists()
