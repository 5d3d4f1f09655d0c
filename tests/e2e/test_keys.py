"""Keys that search, create and copy: when they act, and when they must not."""

import re

import pytest
from playwright.sync_api import expect

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from tests.e2e.conftest import Visit

pytestmark = pytest.mark.django_db(transaction=True)


def test_keys_search_create_and_copy(visit: Visit, alice: User) -> None:
    older, newer = (issue(owner=alice, hostname=site) for site in ("old.test", "new.test"))
    page = visit(alice)
    page.goto("/aliases/")

    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    expect(page.get_by_label("Search")).to_have_value("")
    page.get_by_role("heading").first.click()
    page.keyboard.press("n")
    expect(page.get_by_label("Website, or a note")).to_be_focused()
    page.get_by_role("heading").first.click()
    page.keyboard.press("c")
    expect(page.get_by_text("Copied ✓")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == newer.address

    page.get_by_role("link", name=older.address).focus()
    page.keyboard.press("c")
    expect(page.locator(f"#alias-{older.pk} .copy")).to_have_text("Copied ✓")
    assert page.evaluate("navigator.clipboard.readText()") == older.address


def test_the_keys_lead_to_the_list_from_other_pages(visit: Visit, alice: User) -> None:
    alias = issue(owner=alice)
    page = visit(alice)
    page.goto(f"/aliases/{alias.pk}/")

    page.keyboard.press("c")
    expect(page.get_by_text("Copied ✓")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.goto("/account/")
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="New alias")).to_be_visible()


def test_a_list_of_the_keys_opens_and_closes(visit: Visit, alice: User) -> None:
    page = visit(alice)
    page.goto("/account/")

    page.keyboard.press("?")
    expect(page.get_by_text("Copy the alias that has the focus")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("Copy the alias that has the focus")).to_be_hidden()
    page.get_by_role("button", name="Keys").click()
    expect(page.get_by_text("Copy the alias that has the focus")).to_be_visible()


def test_a_key_is_a_letter_while_somebody_types(visit: Visit, alice: User) -> None:
    alias = issue(owner=alice, note="Shoes")
    page = visit(alice)
    page.goto("/aliases/")

    page.get_by_label("Website, or a note").press_sequentially("nc/?")
    expect(page.get_by_label("Website, or a note")).to_have_value("nc/?")
    page.locator("a.alias__note").click()
    page.locator("input.alias__note").press_sequentially("nc/?")
    expect(page.locator("input.alias__note")).to_have_value(re.compile(re.escape("nc/?")))
    page.keyboard.press("Escape")
    # Those with a modifier are the browser's.
    page.get_by_role("link", name=alias.address).focus()
    for key in ("Control+c", "Alt+n", "Meta+n"):
        page.keyboard.press(key)
    expect(page.get_by_role("link", name=alias.address)).to_be_focused()
    expect(page.get_by_text("Copied ✓")).to_be_hidden()
    assert Alias.objects.count() == 1


def test_the_keys_are_switched_off_in_the_account(visit: Visit, alice: User) -> None:
    page = visit(alice)
    page.goto("/account/")

    page.get_by_label("Keyboard shortcuts").uncheck()
    page.locator("form", has_text="Keyboard shortcuts").last.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Keyboard shortcuts")).not_to_be_checked()
    expect(page.get_by_role("button", name="Keys")).to_have_count(0)
    page.goto("/aliases/")
    page.keyboard.press("n")

    expect(page.get_by_label("Website, or a note")).not_to_be_focused()
