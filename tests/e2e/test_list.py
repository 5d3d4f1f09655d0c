"""The list of aliases and an alias's page: how much is seen, and what a pointer, a key and a finger do."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from tests.e2e.conftest import PATIENCE, PHONE, Visit
from tests.rig.pages import many_aliases

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("window", "rows"), [({"viewport": {"width": 1440, "height": 900}}, 8), (PHONE, 4)], ids=["desk", "phone"]
)
def test_the_first_screen_has_rows_to_use(
    visit: Visit, alice: User, example_com: Domain, window: dict[str, object], rows: int
) -> None:
    many_aliases(alice, example_com, 12)
    Alias.objects.update(
        note="A note that is as long as one line of a row can be, or rather longer than that"
    )
    page = visit(alice, **window)
    page.goto("/aliases/")

    bottoms = page.evaluate(
        "[...document.querySelectorAll('li.alias')].map(row => row.getBoundingClientRect().bottom)"
    )
    top = page.evaluate("document.querySelector('li.alias').getBoundingClientRect().top")
    header = page.evaluate("document.querySelector('header').offsetHeight")

    height = page.viewport_size["height"] if page.viewport_size else 0
    assert sum(bottom <= height for bottom in bottoms) >= rows
    assert top < 300
    assert header < 60


def note_of(page: Page) -> "Alias":
    page.wait_for_timeout(300)
    expect(page.locator(".htmx-request")).to_have_count(0)
    return Alias.objects.get()


def test_a_note_is_written_in_its_row(visit: Visit, alice: User) -> None:
    issue(owner=alice, hostname="shop.test", note="Shoes")
    page = visit(alice)
    page.goto("/aliases/")
    note = page.locator("a.alias__note")
    field = page.get_by_label("Note for shop")

    note.click()
    expect(field).to_be_focused()
    field.fill("Boots")
    field.press("Enter")
    expect(note).to_have_text("Boots")
    expect(note).to_be_focused()
    assert note_of(page).note == "Boots"

    note.press("Enter")
    field.fill("Sandals")
    field.press("Escape")
    expect(note).to_have_text("Boots")
    expect(note).to_be_focused()
    assert note_of(page).note == "Boots"

    note.click()
    field.fill("")
    page.get_by_role("heading").first.click()
    expect(note).to_have_count(0)
    assert note_of(page).note == ""

    page.locator("li.alias summary").click()
    page.get_by_role("button", name="Add a note").click()
    field.fill("Socks")
    field.press("Enter")
    expect(note).to_have_text("Socks")
    assert note_of(page).note == "Socks"


def test_a_note_that_cannot_be_saved_stays_in_its_field(visit: Visit, alice: User) -> None:
    issue(owner=alice, note="Shoes")
    page = visit(alice)
    page.goto("/aliases/")
    page.route("**/note/", lambda route: route.abort())

    page.locator("a.alias__note").click()
    page.locator("input.alias__note").fill("Boots")
    page.locator("input.alias__note").press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    expect(page.locator("input.alias__note")).to_have_value("Boots")
    page.unroute("**/note/")
    page.locator("input.alias__note").press("Enter")
    expect(page.locator("a.alias__note")).to_have_text("Boots")


def test_a_menu_closes_at_escape_and_elsewhere(visit: Visit, alice: User) -> None:
    for _ in range(2):
        issue(owner=alice)
    page = visit(alice)
    page.goto("/aliases/")
    first, second = (page.locator("li.alias summary").nth(number) for number in (0, 1))
    delete = page.get_by_role("button", name="Delete").locator("visible=true")

    first.click()
    expect(delete).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(delete).to_have_count(0)
    expect(first).to_be_focused()
    second.press("Enter")
    first.click()
    expect(delete).to_have_count(1)
    page.get_by_role("heading").first.click()
    expect(delete).to_have_count(0)


def test_pinning_keeps_the_focus_at_the_menu(visit: Visit, alice: User) -> None:
    issue(owner=alice)
    page = visit(alice)
    page.goto("/aliases/")

    page.locator("li.alias summary").press("Enter")
    page.get_by_role("button", name="Pin").press("Enter")

    expect(page.locator("li.alias").get_by_text("Pinned")).to_be_visible()
    expect(page.locator("li.alias summary")).to_be_focused()
    assert Alias.objects.get().pinned


def test_the_first_alias_takes_the_place_of_the_words_about_it(visit: Visit, alice: User) -> None:
    page = visit(alice)
    page.goto("/aliases/")
    expect(page.get_by_role("heading", name="Your first alias")).to_be_visible()
    expect(page.get_by_label("Search")).to_be_hidden()

    page.get_by_role("button", name="Create alias").click()

    expect(page.locator(".alias--new")).to_be_visible()
    expect(page.get_by_role("heading", name="Your first alias")).to_be_hidden()
    expect(page.get_by_label("Search")).to_be_visible()
    page.locator(".alias--new").get_by_role("switch").click()
    expect(page.get_by_role("switch", checked=False)).to_be_visible()


def test_a_phone_has_a_menu_and_a_filter_without_scripts(
    visit: Visit, alice: User, example_com: Domain
) -> None:
    many_aliases(alice, example_com, 3)
    page = visit(alice, **PHONE, java_script_enabled=False)
    page.goto("/aliases/")
    expect(page.get_by_role("link", name="Tokens")).to_be_hidden()

    page.get_by_role("button", name="Filter").tap()
    page.get_by_label("Status").select_option("Disabled")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Show").tap()
    expect(page).to_have_url(re.compile("status=disabled"))
    page.get_by_role("button", name="Menu").tap()
    page.get_by_role("link", name="Tokens").tap()

    expect(page.get_by_role("heading", name="Tokens")).to_be_visible()


def test_after_a_failed_save_the_first_wrong_field_has_the_focus(visit: Visit, alice: User) -> None:
    alias = issue(owner=alice)
    page = visit(alice)
    page.goto(f"/aliases/{alias.pk}/")
    page.get_by_text("Expiry").click()
    page.get_by_label("Expires after this many days without mail").fill("99999999")
    page.locator("main form").last.evaluate("form => { form.noValidate = true; }")

    page.get_by_role("button", name="Save").click()

    field = page.get_by_label("Expires after this many days without mail")
    expect(field).to_be_focused()
    expect(field).to_be_in_viewport()


def test_notes_that_are_written_faster_than_the_server_answers_are_all_saved(
    visit: Visit, alice: User
) -> None:
    for number in range(4):
        issue(owner=alice, note=f"Note {number}")
    page = visit(alice)
    page.goto("/aliases/")
    waiting: list[Route] = []
    page.route("**/note/", lambda route: waiting.append(route))

    for number in range(4):
        page.get_by_role("link", name=f"Note {number}", exact=True).click()
        page.locator("input.alias__note:focus").fill(f"Changed {number}")
    page.locator("input.alias__note:focus").press("Enter")
    page.wait_for_timeout(300)
    answered = 0
    for _ in range(PATIENCE // 50):
        page.wait_for_timeout(50)
        if waiting:
            waiting.pop().continue_()
            answered += 1
            page.wait_for_timeout(300)
        if answered == 4:
            break

    expect(page.locator("a.alias__note", has_text="Changed")).to_have_count(4)
    assert {alias.note for alias in Alias.objects.all()} == {f"Changed {number}" for number in range(4)}


def test_a_note_that_is_refused_is_saved_when_it_was_corrected(visit: Visit, alice: User) -> None:
    issue(owner=alice, note="Shoes")
    Domain.objects.update(anonmail_enabled=False)
    page = visit(alice)
    page.goto("/aliases/")
    field = page.locator("input.alias__note")

    page.locator("a.alias__note").click()
    field.fill("x" * 10_001)
    field.press("Enter")
    expect(page.get_by_text("A note has at most 10,000 characters.")).to_be_visible()
    expect(field).to_be_focused()
    field.fill("Boots")
    page.get_by_role("heading").first.click()

    expect(page.locator("a.alias__note")).to_have_text("Boots")


def test_enter_that_ends_a_composition_does_not_end_a_note(visit: Visit, alice: User) -> None:
    """In an input method, as for Japanese, it chooses what was composed."""
    issue(owner=alice, note="Shoes")
    page = visit(alice)
    page.goto("/aliases/")
    field = page.locator("input.alias__note")

    page.locator("a.alias__note").click()
    for key in ("Enter", "Escape"):
        field.dispatch_event("keydown", {"key": key, "isComposing": True})

    expect(field).to_be_focused()
