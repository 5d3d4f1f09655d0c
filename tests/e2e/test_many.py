"""Many aliases: how many were found, changing all of them, and finding the place in the list again."""

import re

import pytest
from playwright.sync_api import Route, expect

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from tests.e2e.conftest import Visit
from tests.rig.pages import many_aliases

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_all_that_were_found_are_changed_and_the_rest_is_not(
    visit: Visit, alice: User, example_com: Domain, scripts: bool
) -> None:
    many_aliases(alice, example_com, 60)
    issue(owner=alice, note="Another")
    page = visit(alice, java_script_enabled=scripts)
    page.goto("/aliases/?q=Website")

    page.get_by_label("Select all: 60 aliases").check()
    if scripts:
        expect(page.locator(".bulk__count")).to_have_text("60")
        for rows in (50, 60):
            page.keyboard.press("End")
            expect(page.locator("li.alias")).to_have_count(rows)
        expect(page.locator(".alias__select:checked")).to_have_count(60)
    page.locator(".bulk").get_by_role("button", name="Delete").click()

    expect(page.get_by_text("60 aliases have been deleted.")).to_be_visible()
    assert Alias.objects.present().get().note == "Another"
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("60 aliases have been restored.")).to_be_visible()
    assert Alias.objects.present().count() == 61


def test_the_count_follows_what_is_done_in_the_list(visit: Visit, alice: User) -> None:
    for _ in range(2):
        issue(owner=alice)
    page = visit(alice)
    page.goto("/aliases/")

    page.get_by_role("button", name="Create alias").click()
    expect(page.locator("#count")).to_contain_text("3 aliases")
    page.locator("li.alias summary").first.click()
    page.get_by_role("button", name="Delete").locator("visible=true").first.click()
    expect(page.locator("#count")).to_contain_text("2 aliases")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#count")).to_contain_text("3 aliases")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_the_way_back_from_an_alias_keeps_the_filters(visit: Visit, alice: User, scripts: bool) -> None:
    issue(owner=alice, note="Shoes")
    page = visit(alice, java_script_enabled=scripts)
    page.goto("/aliases/?q=shoes&order=newest")

    page.locator("li.alias a.address").click()
    page.get_by_label("Note").fill("Shoes and socks")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.get_by_role("switch").click()
    expect(page.get_by_role("switch", checked=False)).to_be_visible()
    page.get_by_role("link", name="← Anonymous aliases").click()

    expect(page).to_have_url(re.compile(r"/aliases/\?q=shoes&order=newest$"))


def test_a_note_and_a_switch_at_the_same_time_leave_the_row_as_it_is(visit: Visit, alice: User) -> None:
    issue(owner=alice, note="Shoes")
    page = visit(alice)
    page.goto("/aliases/")
    held: list[tuple[Route, object]] = []
    # The note's answer was written before the switch was pressed, and comes before the switch's.
    page.route("**/note/", lambda route: held.append((route, route.fetch())))
    page.route("**/disable/", lambda route: held.append((route, route.fetch())))

    page.locator("a.alias__note").click()
    page.locator("input.alias__note").fill("Boots")
    page.get_by_role("switch").click()
    while len(held) < 2:
        page.wait_for_timeout(50)
    for route, answer in held:
        route.fulfill(response=answer)  # type: ignore[arg-type]
        page.wait_for_timeout(100)

    expect(page.get_by_role("switch", checked=False)).to_be_visible()
    expect(page.locator("a.alias__note")).to_have_text("Boots")
    alias = Alias.objects.get()
    assert (alias.enabled, alias.note) == (False, "Boots")
