"""Tokens, own addresses and the account."""

import csv
import io
import json
import re
from base64 import b64decode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from qrcode import make

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasPreferences
from contacts.book import add_contact
from domains.models import Domain
from tests.rig.signing_in import signed_in
from tokens.models import Token
from tokens.scopes import Scope
from transfer.personal_download import everything

pytestmark = pytest.mark.django_db


def test_making_a_token_asks_for_a_recent_sign_in(alice: User, client: Client) -> None:
    client.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})
    with time_machine.travel(timezone.now() + timedelta(minutes=10)):
        asked = client.get("/tokens/new/")
        tried = client.post("/tokens/new/", {"name": "x"})

    assert asked["Location"].startswith("/accounts/reauthenticate/")
    assert tried.status_code == 302
    assert not Token.objects.exists()


def test_a_token_is_shown_once_and_what_the_browser_sends_is_not_it(browser: Client, alice: User) -> None:
    answer = browser.post(
        "/tokens/new/",
        {
            "name": "phone",
            "scopes": "1",
            "secret": "A" * 48,
            "digest": "0" * 64,
            "days": "30",
            "networks": "192.0.2.7",
        },
    )

    token = Token.objects.get()
    text = answer.content.decode()
    key = re.search(r"alice@example\.com:([A-Za-z0-9]{48})", text)
    assert key
    assert key[1] != "A" * 48
    assert token.digest != "0" * 64
    assert "no-store" in answer["Cache-Control"]
    assert token.networks == ["192.0.2.7/32"]
    assert token.expires is not None
    for page in ("/tokens/", "/tokens/new/"):
        later = browser.get(page).content.decode()
        assert key[1] not in later
        assert token.digest not in later


def test_a_new_token_is_shown_as_a_qr_code_too(
    browser: Client, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.SITE_URL = "https://mail.example.com"
    encode = Mock(wraps=make)
    monkeypatch.setattr("core.qr_codes.qrcode.make", encode)

    page = browser.post("/tokens/new/", {"name": "phone", "scopes": "1"}).content.decode()

    key = re.search(r"alice@example\.com:[A-Za-z0-9]{48}", page)
    assert key
    assert encode.call_args.args == (f"Server URL: https://mail.example.com\nAPI key: {key[0]}",)
    image = re.search(r'src="data:image/svg\+xml;base64,(\S+?)"', page)
    assert image
    assert b64decode(image[1]).startswith(b"<svg")
    assert "/appearance/" not in page


def test_loading_the_shown_token_again_makes_no_second_one(browser: Client, alice: User) -> None:
    data = {"name": "phone", "scopes": "1"}

    first = browser.post("/tokens/new/", data)
    again = browser.post("/tokens/new/", data, follow=True)

    assert first.status_code == 200
    assert "This token was already created" in again.content.decode()
    assert Token.objects.count() == 1


def test_a_token_may_create_and_list_unless_more_is_ticked(browser: Client) -> None:
    form = browser.get("/tokens/new/").content.decode()
    ticked = re.findall(r'<input type="checkbox" name="scopes" value="(\d+)"[^>]* checked', form)
    assert (re.findall(r'name="scopes" value="(\d+)"', form), ticked) == (["1", "2", "4", "8"], ["1"])

    browser.post("/tokens/new/", {"name": "phone", "scopes": ["1", "4"]})

    token = Token.objects.get()
    assert token.rights == Scope.CREATE | Scope.ACTIVITY
    assert "rights: Create and list, Read mail activity" in " ".join(
        browser.get("/tokens/").content.decode().split()
    )


@pytest.mark.parametrize("scopes", [[], ["0"], ["16"], ["-1"], ["7"], ["x"], ["1", "16"]])
def test_rights_that_are_not_offered_make_no_token(browser: Client, scopes: list[str]) -> None:
    answer = browser.post("/tokens/new/", {"name": "phone", "scopes": scopes})

    assert answer.status_code == 422
    assert not Token.objects.exists()


def test_a_network_that_is_none_is_refused_beside_its_field(browser: Client) -> None:
    answer = browser.post("/tokens/new/", {"name": "phone", "scopes": "1", "networks": "192.0.2.7, home"})

    assert answer.status_code == 422
    assert "“home” is not a valid network." in answer.content.decode()
    assert not Token.objects.exists()


def test_an_address_is_added_verified_by_mail_and_made_primary(
    browser: Client, alice: User, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    browser.post("/addresses/", {"email": "Alice@Home.Test"})
    row = EmailAddress.objects.get(email="alice@home.test")
    assert not row.verified
    browser.post(f"/addresses/{row.pk}/primary/")
    row.refresh_from_db()
    assert not row.primary

    link = re.search(r"http://\S+(/accounts/confirm-email/\S+)", mail.outbox[0].body)
    assert link
    assert mail.outbox[0].to == ["alice@home.test"]
    browser.post(link[1])
    row.refresh_from_db()
    assert row.verified

    browser.post(f"/addresses/{row.pk}/primary/")
    alice.refresh_from_db()
    assert alice.email == "alice@home.test"


@pytest.mark.parametrize("form", ["{}", "Up{}", "tag+{}"])
def test_an_alias_cannot_become_an_own_address(browser: Client, alice: User, form: str) -> None:
    alias = issue(owner=alice)
    local, _at, domain = alias.address.partition("@")
    written = {"{}": alias.address, "Up{}": alias.address.upper(), "tag+{}": f"{local}+tag@{domain}"}[form]

    answer = browser.post("/addresses/", {"email": written})

    assert answer.status_code == 422
    assert "This address cannot be used here." in answer.content.decode()
    assert EmailAddress.objects.count() == 1


def test_removing_an_address_leaves_no_alias_without_destination(browser: Client, alice: User) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alone = issue(owner=alice, destinations=["alice@home.test"])
    deleted = issue(owner=alice, destinations=["alice@home.test"])
    deleted.soft_delete()
    both = issue(owner=alice, destinations=["alice@home.test", "alice@example.com"])
    primary = EmailAddress.objects.get(user=alice, primary=True)

    asked = browser.get(f"/addresses/{home.pk}/remove/").content.decode()
    assert "2 aliases forward only here." in asked
    refused = browser.post(f"/addresses/{home.pk}/remove/").content.decode()
    assert "Choose where the aliases" in refused
    browser.post(f"/addresses/{home.pk}/remove/", {"move_to": home.pk})
    assert EmailAddress.objects.filter(pk=home.pk).exists()
    browser.post(f"/addresses/{home.pk}/remove/", {"move_to": primary.pk})

    assert not EmailAddress.objects.filter(pk=home.pk).exists()
    for alias in (alone, deleted, both):
        assert Alias.objects.get(pk=alias.pk).destination_addresses == [primary]


def test_the_primary_address_stays(browser: Client, alice: User) -> None:
    primary = EmailAddress.objects.get(user=alice)

    answer = browser.post(f"/addresses/{primary.pk}/remove/")

    assert "cannot be removed" in answer.content.decode()
    assert EmailAddress.objects.filter(pk=primary.pk).exists()


def test_the_sign_in_packages_own_address_page_leads_to_ours(browser: Client, alice: User) -> None:
    """It would remove an address without looking at the aliases."""
    issue(owner=alice)

    answer = browser.post("/accounts/email/", {"email": alice.email, "action_remove": ""})

    assert answer["Location"] == "/addresses/"
    assert EmailAddress.objects.filter(user=alice).exists()


def test_preferences_are_kept_and_used(
    browser: Client, alice: User, other_org: Domain, example_com: Domain
) -> None:
    other_org.grant(alice)

    browser.post("/account/", {"default_domain": other_org.pk, "style": "uuid"})

    assert re.fullmatch(r"[0-9a-f-]{36}@other\.org", issue(owner=alice).address)
    text = browser.get("/account/").content.decode()
    assert re.search(r"github\.[a-z]+@other\.org", text)
    assert re.search(r"github\.[a-z0-9]{8}@other\.org", text)
    refused = browser.post("/account/", {"default_domain": 999, "style": "odd"})
    assert refused.status_code == 422


def test_a_domain_without_right_cannot_be_the_default(
    browser: Client, alice: User, other_org: Domain
) -> None:
    assert browser.post("/account/", {"default_domain": other_org.pk, "style": "words"}).status_code == 422


def test_everything_about_me_is_downloaded_without_a_secret(browser: Client, alice: User) -> None:
    issue(owner=alice, note="=HYPERLINK(1)", hostname="shop.test")
    issue(owner=alice).soft_delete()
    token, _secret = Token.objects.issue(owner=alice, name="phone")
    contact, _existed = add_contact(Alias.objects.present().get(), "jane@shop.test")
    contact.block()

    document = json.loads(browser.get("/account/everything.json").content)
    text = b"".join(browser.get("/account/aliases.csv").streaming_content).decode()  # type: ignore[arg-type]
    rows = list(csv.DictReader(io.StringIO(text)))

    assert document["account"]["email"] == alice.email
    assert [alias["note"] for alias in document["aliases"]] == ["=HYPERLINK(1)", ""]
    assert document["tokens"][0]["name"] == "phone"
    (told,) = document["contacts"]
    assert (told["address"], told["reverse_address"]) == ("jane@shop.test", contact.reverse_address)
    assert told["blocked"] is True
    assert json.loads(rows[0]["contacts"])[0]["address"] == "jane@shop.test"
    assert token.digest not in json.dumps(document)
    assert alice.password not in json.dumps(document)
    assert [row["note"] for row in rows] == ["'=HYPERLINK(1)", ""]
    assert rows[0]["destinations"] == "alice@example.com"
    assert rows[1]["deleted"]


def test_my_account_is_deleted_after_my_address_is_typed(browser: Client, alice: User) -> None:
    alias = issue(owner=alice, note="secret")

    wrong = browser.post("/account/delete/", {"confirm": "alice"})
    assert wrong.status_code == 422
    assert User.objects.filter(pk=alice.pk).exists()
    done = browser.post("/account/delete/", {"confirm": " Alice@example.com "}, follow=True)

    assert "Your account has been deleted." in done.content.decode()
    assert not User.objects.filter(pk=alice.pk).exists()
    left = Alias.objects.get()
    assert (left.address, left.owner, left.note) == (alias.address, None, "")
    assert browser.get("/aliases/").status_code == 302


def test_the_last_global_admin_stays(root: User, client: Client) -> None:
    client.post("/accounts/login/", {"login": root.email, "password": "root-password-1"})

    answer = client.post("/account/delete/", {"confirm": root.email}, follow=True)

    assert "This is the last global admin." in answer.content.decode()
    assert User.objects.filter(pk=root.pk).exists()


def test_examples_after_a_mistake_are_on_the_domain_that_is_stored(
    browser: Client, alice: User, other_org: Domain
) -> None:
    other_org.grant(alice)
    AliasPreferences.objects.create(user=alice, default_domain=other_org)
    example_com = Domain.objects.get(name="example.com")

    answer = browser.post(
        "/account/", {"style": "words", "default_domain": example_com.pk, "idle_days": "-5"}
    )

    assert answer.status_code == 422
    assert "@other.org" in answer.content.decode()


@pytest.mark.parametrize("path", ["/accounts/password/reset/done/", "/accounts/confirm-email/"])
def test_pages_say_where_a_mail_is_if_there_is_no_mail_server(
    client: Client, settings: Settings, path: str
) -> None:
    folder = "in the directory var/outbox"
    assert folder not in client.get(path).content.decode()

    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = settings.BASE_DIR / "var" / "outbox"

    assert folder in client.get(path).content.decode()
    settings.EMAIL_FILE_PATH = "/srv/mails"
    assert "in the directory /srv/mails" in client.get(path).content.decode()


def test_notices_about_links_say_where_the_mail_is(
    browser: Client, root: User, settings: Settings, tmp_path: Path
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = tmp_path

    added = browser.post("/addresses/", {"email": "alice@home.test"}, follow=True).content.decode()
    new = {"email": "new@x.test", "name": ""}
    created = signed_in(root).post("/admin/accounts/user/add/", new, follow=True)

    assert f"in the directory {tmp_path}" in added
    assert f"in the directory {tmp_path}" in created.content.decode()


def test_the_name_in_replies_is_kept_in_one_line_and_in_the_download(browser: Client, alice: User) -> None:
    page = {"sender_format": "AT", "reply_name": " Alice\tA. "}

    saved = browser.post("/account/replies/", page)
    too_long = browser.post("/account/replies/", {**page, "reply_name": "x" * 129})

    assert (saved.status_code, too_long.status_code) == (302, 422)
    assert AliasPreferences.objects.get(user=alice).reply_name == "Alice A."
    assert everything(alice)["preferences"]["reply_name"] == "Alice A."
