"""Correspondents in a browser: write to somebody, copy, block with a key, without scripts."""

import pytest
from playwright.sync_api import expect

from accounts.models import User
from aliases.issuing import issue
from contacts.book import add_contact
from contacts.models import Contact
from tests.e2e.conftest import PHONE, Visit

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_address_in_and_a_reverse_address_in_the_clipboard(visit: Visit, alice: User) -> None:
    alias = issue(owner=alice)
    page = visit(alice)
    page.goto(f"/aliases/{alias.pk}/")

    page.get_by_role("link", name="0 correspondents").click()
    page.get_by_label("Write to somebody").fill("Jane <jane@shop.test>")
    page.keyboard.press("Enter")
    # The button to copy has the focus.
    expect(page.get_by_text("To write to jane@shop.test")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copied")).to_be_visible()

    contact = Contact.objects.get()
    assert page.evaluate("navigator.clipboard.readText()") == contact.reverse_address
    assert page.locator(f'a[href="mailto:{contact.reverse_address}"]').count() == 2


def test_the_switch_blocks_in_place_and_a_search_narrows_the_list(visit: Visit, alice: User) -> None:
    alias = issue(owner=alice)
    for number in range(8):
        add_contact(alias, f"c{number}@shop.test")
    page = visit(alice)
    page.goto(f"/aliases/{alias.pk}/contacts/")

    page.get_by_role("searchbox").press_sequentially("c3@")
    expect(page.locator("#list li")).to_have_count(1)
    switch = page.get_by_role("switch", name="c3@shop.test may write")
    switch.press(" ")
    expect(switch).to_have_attribute("aria-checked", "false")
    expect(page.locator("#live")).to_have_text("Mail from c3@shop.test is now refused.")

    assert [contact.address for contact in Contact.objects.filter(blocked=True)] == ["c3@shop.test"]


def test_on_a_phone_the_reverse_address_is_copied_from_the_menu(visit: Visit, alice: User) -> None:
    alias = issue(owner=alice)
    contact, _existed = add_contact(alias, "a-rather-long-name.of-somebody@department.shop.test")
    page = visit(alice, **PHONE)
    page.goto(f"/aliases/{alias.pk}/contacts/")

    page.locator(".menu summary").tap()
    page.locator(".menu__list").get_by_role("button", name="Copy reverse address").tap()
    expect(page.locator("#live")).to_have_text("Copied")

    assert page.evaluate("navigator.clipboard.readText()") == contact.reverse_address


def test_without_scripts_everything_is_there(visit: Visit, alice: User) -> None:
    alias = issue(owner=alice)
    page = visit(alice, java_script_enabled=False)
    page.goto(f"/aliases/{alias.pk}/contacts/")

    page.get_by_label("Write to somebody").fill("jane@shop.test")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("switch", name="jane@shop.test may write").click()
    expect(page.get_by_text("Mail from jane@shop.test is now refused.")).to_be_visible()

    assert Contact.objects.get().blocked
