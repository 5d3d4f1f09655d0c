"""A new secret key: what was made under the one before counts as long as that is among the earlier ones."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.conf import settings
from django.core.checks import Error
from django.core.management import CommandError, call_command
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import AddressChange, User
from accounts.password_links import password_link
from accounts.sign_ins import COOKIE, is_known
from aliases.issuing import issue
from aliases.models import Alias
from anonmail_site.checks import check_secret_key
from anonmail_site.first_steps import make_secret_key, replace_secret_key
from api.addy.ids import public_id
from api.simplelogin.custom_names import read_suffix, suffixes
from core.exceptions import RuleError
from core.sealing import CannotUnseal, seal, unseal
from domains.dkim_keys import make_keys
from domains.models import DkimKey, Domain
from mail.delivery.message import is_looping, loop_mark
from mail.delivery.return_path import read_return_path, return_path
from mail.delivery.threads import original_id, outgoing_id
from mail.delivery.vouching import Client as MailClient
from mail.delivery.vouching import vouched_client, voucher
from mail.models import Activity, ReturnedMessage
from mail.unsubscribe import unsubscribe_path
from tests.conftest import Api

NEW = "new-" + "n" * 60
OLD_ID = "<4711@laptop.home.test>"


@dataclass
class Made:
    """What was made under the old key."""

    alice: User
    alias: Alias
    browser: Client
    api: Api
    thing: Any = None


@pytest.fixture
def made(alice: User, browser: Client, api: Api) -> Made:
    alice.refresh_from_db()  # She has signed in.
    return Made(alice, issue(owner=alice), browser, api)


def mailed_return_path(made: Made) -> bool:
    local_part, _at, domain = made.thing.partition("@")
    tag = read_return_path(local_part, domain, timezone.now())
    return tag is not None and tag.alias_id == made.alias.pk


def undo_link(made: Made) -> str:
    address = EmailAddress.objects.create(user=made.alice, email="alice@home.test")
    return AddressChange.objects.record(made.alice, AddressChange.Kind.ADDED, address).link


def is_page(made: Made) -> bool:
    """Whether the link leads to a page with a form that acts, beside that of each page's foot."""
    answer = Client().get(made.thing.replace(settings.SITE_URL, ""), follow=True)
    return answer.content.count(b'method="post"') > 1


def reset_works(made: Made) -> bool:
    answer = Client().get(made.thing.replace(settings.SITE_URL, ""), follow=True)
    return b'name="password1"' in answer.content


def confirmation(made: Made) -> str:
    address = EmailAddress.objects.create(user=made.alice, email="alice@home.test")
    return str(EmailConfirmationHMAC.create(address).key)


def offered_suffix_counts(made: Made) -> bool:
    try:
        return bool(read_suffix(made.alice, made.thing))
    except RuleError:
        return False


def sealed_is_read(made: Made) -> bool:
    try:
        return unseal("purpose", made.thing) == b"secret"
    except CannotUnseal:
        return False


def returned_message(made: Made) -> int:
    failed = Activity.objects.create(alias=made.alias, event="bounce", status="5.1.1")
    ReturnedMessage.keep(failed, b"Subject: x")
    return failed.pk


def returned_is_read(made: Made) -> bool:
    try:
        return ReturnedMessage.objects.get(pk=made.thing).content == b"Subject: x"
    except CannotUnseal:
        return False


def browser_is_known(made: Made) -> bool:
    request = RequestFactory().get("/")
    request.COOKIES[COOKIE] = made.browser.cookies[COOKIE].value
    return is_known(request, made.alice)


def half_a_sign_in(made: Made) -> tuple[str, str]:
    secret = generate_totp_secret()
    TOTP.activate(made.alice, secret)
    body = {"email": made.alice.email, "password": "alice-password-1", "device": "phone"}
    return APIClient().post("/api/auth/login", body, format="json").json()["mfa_key"], secret


def second_half_works(made: Made) -> bool:
    key, secret = made.thing
    code = format_hotp_value(hotp_value(secret, int(timezone.now().timestamp()) // 30))
    body = {"mfa_key": key, "mfa_token": code, "device": "phone"}
    return bool(APIClient().post("/api/auth/mfa", body, format="json").status_code == 200)


def recipient_is_found(made: Made) -> bool:
    answer = made.api(made.alice).get(f"/api/v1/recipients/{made.thing}")
    return bool(answer.status_code == 200)


Case = tuple[Callable[[Made], Any], Callable[[Made], bool]]
CASES: dict[str, Case] = {
    "return path": (
        lambda made: return_path(made.alias.pk, 7, "example.com", timezone.now()),
        mailed_return_path,
    ),
    "unsubscribe link": (lambda made: unsubscribe_path(made.alias.pk), is_page),
    "loop mark": (
        lambda made: loop_mark(made.alias.pk),
        lambda made: is_looping([("x-anonmail-loop", made.thing)], made.alias.pk),
    ),
    "Message-ID of a reply": (
        lambda made: outgoing_id(made.alias.address, OLD_ID),
        lambda made: original_id(made.alias.address, made.thing) == OLD_ID,
    ),
    "voucher": (
        lambda made: voucher("a@example.com", MailClient("192.0.2.1", "alice")),
        lambda made: bool(vouched_client([(made.thing[0].lower(), made.thing[1])], "a@example.com").login),
    ),
    "sealed secret": (lambda made: seal("purpose", b"secret"), sealed_is_read),
    "message that came back": (returned_message, returned_is_read),
    "link that undoes a change": (undo_link, is_page),
    "link that verifies an address": (
        confirmation,
        lambda made: EmailConfirmationHMAC.from_key(made.thing) is not None,
    ),
    "link for a new password": (lambda made: password_link(made.alice), reset_works),
    "session": (lambda made: None, lambda made: made.browser.get("/aliases/").status_code == 200),
    "known browser": (lambda made: None, browser_is_known),
    "offered ending": (
        lambda made: suffixes(made.alice)[0]["signed_suffix"],
        offered_suffix_counts,
    ),
    "sign-in with a code": (half_a_sign_in, second_half_works),
    "addy.io's id": (
        lambda made: public_id("recipient", made.alice.emailaddress_set.get().pk),
        recipient_is_found,
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", CASES)
def test_what_was_made_under_an_earlier_key_counts_until_that_is_dropped(
    name: str, made: Made, settings: Settings
) -> None:
    make, counts = CASES[name]
    made.thing = make(made)
    old = settings.SECRET_KEY

    settings.SECRET_KEY = NEW
    is_valid_without = counts(made)
    settings.SECRET_KEY_FALLBACKS = [old]
    if name == "session":
        # The request above has ended the session.
        settings.SECRET_KEY = old
        made.browser.post("/accounts/login/", {"login": made.alice.email, "password": "alice-password-1"})
        settings.SECRET_KEY = NEW

    assert not is_valid_without
    assert counts(made)


@pytest.mark.django_db
def test_what_is_made_now_is_made_under_the_present_key(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = NEW
    now = timezone.now()

    made = return_path(1, 7, "example.com", now), loop_mark(1), outgoing_id("a@example.com", OLD_ID)
    settings.SECRET_KEY_FALLBACKS = []

    assert made == (return_path(1, 7, "example.com", now), loop_mark(1), outgoing_id("a@example.com", OLD_ID))


@pytest.mark.django_db
def test_dkim_keys_are_sealed_anew_and_need_the_earlier_key_no_more(
    example_com: Domain, settings: Settings
) -> None:
    public = [key.public for key in make_keys(example_com)]
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = NEW
    assert all(key.is_readable for key in DkimKey.objects.all())

    call_command("reseal_dkim_keys")
    sealed = [key.sealed for key in DkimKey.objects.all()]
    call_command("reseal_dkim_keys")
    settings.SECRET_KEY_FALLBACKS = []

    keys = list(DkimKey.objects.all())
    assert [key.sealed for key in keys] == sealed
    assert [key.public for key in keys] == public
    assert all(key.is_readable for key in keys)


@pytest.mark.django_db
def test_dkim_keys_that_no_key_reads_are_named(example_com: Domain, settings: Settings) -> None:
    keys = make_keys(example_com)
    settings.SECRET_KEY = NEW

    with pytest.raises(CommandError, match=f"No known secret key reads .*{keys[0].selector}"):
        call_command("reseal_dkim_keys")


def test_a_new_key_goes_on_top_of_the_file_and_the_settings_know_both(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    make_secret_key(path)
    first = path.read_text().strip()

    replace_secret_key(path)

    second, kept = path.read_text().split()
    assert kept == first != second
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret_key"]
    code = "from anonmail_site import settings as s; print(s.SECRET_KEY); print(*s.SECRET_KEY_FALLBACKS)"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == [second, first]


def test_a_key_in_the_environment_is_not_replaced(settings: Settings) -> None:
    settings.SECRET_KEY_IS_IN_FILE = False

    with pytest.raises(CommandError, match="SECRET_KEY_FALLBACKS"):
        call_command("new_secret_key")


def test_a_key_file_is_replaced_by_the_command(tmp_path: Path, settings: Settings) -> None:
    settings.SECRET_KEY_IS_IN_FILE = True
    settings.SECRET_KEY_PATH = tmp_path / "secret_key"

    with pytest.raises(CommandError, match="No such file"):
        call_command("new_secret_key")
    make_secret_key(settings.SECRET_KEY_PATH)
    call_command("new_secret_key")

    assert len(settings.SECRET_KEY_PATH.read_text().split()) == 2


def test_an_earlier_key_is_a_whole_one(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = ["short"]

    (found,) = check_secret_key()

    assert isinstance(found, Error)
    assert "SECRET_KEY_FALLBACKS" in found.msg
