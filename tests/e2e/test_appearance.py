"""Theme and language in a browser, with and without scripts."""

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from tests.e2e.conftest import Visit

pytestmark = pytest.mark.django_db(transaction=True)


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_theme_and_language_are_chosen_in_the_footer(visit: Visit, alice: User, scripts: bool) -> None:
    page = visit(alice, java_script_enabled=scripts, color_scheme="light")
    page.goto("/aliases/?order=newest")
    light = background(page)

    page.get_by_role("button", name="dark").click()
    expect(page.get_by_role("button", name="dark", pressed=True)).to_be_visible()
    dark = background(page)
    page.get_by_role("button", name="Deutsch").click()

    expect(page.get_by_role("heading", name="Anonyme Aliase")).to_be_visible()
    expect(page.get_by_role("button", name="Deutsch", pressed=True)).to_be_visible()
    assert page.url.endswith("/aliases/?order=newest")
    assert light != dark == background(page)

    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="hell").click()
    expect(page.get_by_role("button", name="hell", pressed=True)).to_be_visible()
    assert background(page) == light


def test_theme_and_language_are_chosen_in_the_account(visit: Visit, alice: User) -> None:
    page = visit(alice, color_scheme="light")
    page.goto("/account/")

    page.get_by_role("combobox", name="Theme").select_option("dark")
    page.get_by_role("combobox", name="Language").select_option("Deutsch")
    page.locator("main form", has_text="Theme").get_by_role("button", name="Save").click()

    expect(page.get_by_role("heading", name="Konto", exact=True)).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
