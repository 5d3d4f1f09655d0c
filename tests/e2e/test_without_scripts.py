"""Each page's job in a browser without scripts. The list, correspondents and the footer have theirs beside
what they do with scripts."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.contrib.sessions.models import Session
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from aliases.models import Alias, AliasPreferences
from contacts.models import Contact
from domains.models import DkimKey
from mail.models import FailedDelivery
from tests.e2e.conftest import Visit
from tests.e2e.scenes import contact_of
from tests.e2e.stage import Stage
from tests.rig.signing_in import signed_in, totp_code
from tokens.models import Token

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(visit: Visit, stage: Stage) -> Page:
    """Alice's, who has just signed in."""
    return visit(client=signed_in(stage.alice), java_script_enabled=False)


def press(page: Page, name: str) -> None:
    page.get_by_role("main").get_by_role("button", name=name).first.click()
    # The click has waited for the next page's first octets.
    page.wait_for_load_state()


def test_an_alias_is_made_with_all_it_needs_and_changed(page: Page, stage: Stage) -> None:
    page.goto("/aliases/new/")
    page.get_by_label("Website").fill("www.bookshop.test")
    page.get_by_label("Note").fill("Presents")
    page.get_by_label("alice@example.com").uncheck()
    page.get_by_label("alice@home.test").check()
    press(page, "Create alias")
    expect(page.get_by_text("Your new alias is ready.")).to_be_visible()
    alias = Alias.objects.get(note="Presents")
    assert alias.address.startswith("bookshop.")
    assert [address.email for address in alias.destination_addresses] == ["alice@home.test"]

    page.get_by_label("alice@example.com").check()
    page.get_by_text("Expiry").click()
    page.get_by_label("Expires after this many days without mail").fill("30")
    press(page, "Save")
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert len(Alias.objects.get(pk=alias.pk).destination_addresses) == 2

    press(page, "Delete")
    page.goto("/aliases/deleted/")
    page.get_by_role("button", name=f"Restore {alias}").click()
    assert not Alias.objects.get(pk=alias.pk).is_deleted


def test_a_correspondent_is_named_and_deleted(page: Page, stage: Stage) -> None:
    contact = contact_of(stage)
    page.goto(f"/contacts/{contact.pk}/")
    page.get_by_label("Name").fill("Jane")
    press(page, "Save")
    page.get_by_role("switch").click()
    page.get_by_role("link", name="Delete").click()
    contact.refresh_from_db()
    assert (contact.name, contact.blocked) == ("Jane", True)

    press(page, "Delete")

    assert not Contact.objects.filter(pk=contact.pk).exists()


def test_a_token_is_made_and_revoked(page: Page, stage: Stage) -> None:
    page.goto("/tokens/")
    page.get_by_role("link", name="New token").click()
    page.get_by_label("Name").fill("Script")
    press(page, "Create token")
    expect(page.locator("#key")).to_be_visible()
    page.get_by_role("link", name="I have copied it").click()
    assert Token.objects.filter(name="Script").exists()

    page.get_by_role("link", name="Revoke Script").click()
    press(page, "Revoke")

    assert not Token.objects.filter(name="Script").exists()


def test_addresses_are_added_made_primary_and_removed(page: Page, stage: Stage) -> None:
    page.goto("/addresses/")
    page.get_by_label("E-mail address").fill("alice@new.test")
    press(page, "Add address")
    expect(page.locator("li", has_text="alice@new.test").get_by_text("Not verified yet")).to_be_visible()

    page.get_by_role("button", name="Make primary alice@home.test").click()
    expect(page.locator("li", has_text="alice@home.test").get_by_text("Primary")).to_be_visible()
    page.get_by_role("link", name="Remove alice@new.test").click()
    press(page, "Remove")

    assert not EmailAddress.objects.filter(email="alice@new.test").exists()
    assert EmailAddress.objects.get(email="alice@home.test").primary


def test_preferences_are_saved_and_other_sessions_end(page: Page, stage: Stage) -> None:
    page.goto("/account/")
    page.get_by_label("UUID").check()
    press(page, "Save")
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.goto("/account/replies/")
    page.get_by_label("Replace my own address in the text of replies").uncheck()
    press(page, "Save")
    preferences = AliasPreferences.objects.get(user=stage.alice)
    assert (preferences.style, preferences.cleans_text) == ("uuid", False)

    before = Session.objects.count()
    page.goto("/accounts/sessions/")
    press(page, "Sign out the others")
    assert Session.objects.count() < before

    page.get_by_role("link", name="Change password").click()
    page.get_by_label("Current password").fill("alice-password-1")
    for label in ("New password", "New password, again"):
        page.get_by_label(label, exact=True).fill("another-word-of-alice")
    press(page, "Change password")
    expect(page.get_by_text("Your password has been changed.")).to_be_visible()
    assert User.objects.get(pk=stage.alice.pk).check_password("another-word-of-alice")


def test_a_domain_is_opened_to_somebody_and_gets_keys(page: Page, stage: Stage) -> None:
    page.goto("/domains/xn--bcher-kva.example/")
    page.get_by_label("E-mail address").fill(stage.outsider.email)
    press(page, "Grant access")
    expect(page.get_by_text(f"{stage.outsider.email} may create aliases")).to_be_visible()
    page.get_by_role("link", name=f"Revoke {stage.outsider.email}").click()
    press(page, "Revoke")
    assert not stage.outsider.access_grants.exists()

    # Others can follow those that are in the DNS.
    DkimKey.objects.update(published=timezone.now())
    page.goto("/domains/xn--bcher-kva.example/dns/")
    press(page, "Create new keys")

    assert DkimKey.objects.count() == 4


def test_a_file_is_imported(page: Page, stage: Stage) -> None:
    rows = b"alias,note,enabled\nforum.old2@example.com,Forum,True\n"
    page.goto("/aliases/import/")
    page.get_by_label("A file of aliases").set_input_files(
        {"name": "aliases.csv", "mimeType": "text/csv", "buffer": rows}
    )
    press(page, "Check the file")
    if page.get_by_role("button", name="Check the rest").is_visible():
        press(page, "Check the rest")
    press(page, "Import them")

    expect(page.get_by_role("heading", name="Anonymous aliases")).to_be_visible()
    assert Alias.objects.get(address="forum.old2@example.com").note == "Forum"


def test_a_failed_delivery_is_deleted_and_messages_are_kept(page: Page, stage: Stage) -> None:
    before = FailedDelivery.objects.count()
    page.goto("/failed-deliveries/")
    with page.expect_download():
        page.get_by_role("link", name="Download message").click()
    page.locator("li summary").first.click()
    press(page, "Delete")
    assert FailedDelivery.objects.count() == before - 1

    switch = page.get_by_role("switch", name="Keep messages that come back")
    was = switch.get_attribute("aria-checked")
    switch.click()
    expect(switch).not_to_have_attribute("aria-checked", was or "")


def test_an_app_becomes_the_second_factor_and_is_asked_for(visit: Visit, page: Page, stage: Stage) -> None:
    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Set up an app").click()
    secret = page.locator(".help code").inner_text()
    page.get_by_label("Code").fill(totp_code(secret))
    press(page, "Turn on")
    expect(page.get_by_text(re.compile("recovery codes", re.IGNORECASE)).first).to_be_visible()
    page.get_by_role("button", name="Sign out", exact=True).click()
    if "logout" in page.url:
        press(page, "Sign out")

    page.goto("/accounts/login/")
    page.get_by_label("E-mail address").fill("alice@example.com")
    page.get_by_label("Password").fill("alice-password-1")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_label("Code")).to_be_visible()
