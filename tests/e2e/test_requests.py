"""What the pages do when a key, a click or a request goes wrong, in a real browser."""

import re

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Page, Route, expect

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from tests.e2e.conftest import Visit
from tests.e2e.test_journeys import sign_in
from tests.rig.pages import many_aliases

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "alice-password-1"
CREATE = "Create alias"


def quick(page: Page) -> None:
    page.goto("/aliases/")
    page.get_by_label("Website").fill("https://www.github.com/login")


@pytest.mark.parametrize("javascript", [True, False])
def test_enter_in_a_row_changes_no_alias(visit: Visit, alice: User, javascript: bool) -> None:
    for _ in range(2):
        issue(owner=alice)
    page = visit(alice, java_script_enabled=javascript)
    page.goto("/aliases/")

    page.get_by_role("checkbox").nth(1).check()
    page.get_by_role("checkbox").nth(1).press("Enter")
    page.wait_for_timeout(300)

    if javascript:
        expect(page.get_by_role("checkbox").nth(1)).to_be_checked()
    assert Alias.objects.filter(enabled=True).count() == 2


def test_the_keyboard_goes_on_after_show_more(visit: Visit, alice: User, example_com: Domain) -> None:
    many_aliases(alice, example_com, 60)
    page = visit(alice)
    page.goto("/aliases/")

    for shown in (25, 50):
        page.get_by_role("link", name="Show more").press("Enter")
        expect(page.locator("li.alias a.address").nth(shown)).to_be_focused()
    expect(page.locator("li.alias")).to_have_count(60)


def scroll_to_the_last(page: Page, number: int) -> None:
    """Scroll to the last row until there are `number` of them."""
    rows = page.locator("li.alias")
    while (shown := rows.count()) < number:
        rows.last.scroll_into_view_if_needed()
        expect(rows).to_have_count(min(shown + 25, number))


def test_the_list_goes_on_by_itself_and_back_from_an_alias_it_is_as_it_was(
    visit: Visit, alice: User, example_com: Domain
) -> None:
    many_aliases(alice, example_com, 120)
    page = visit(alice)
    page.goto("/aliases/?q=site")
    expect(page.get_by_text("120 aliases", exact=True)).to_be_visible()

    scroll_to_the_last(page, 120)
    row = page.locator("li.alias").nth(80)
    row.scroll_into_view_if_needed()
    place = page.evaluate("window.scrollY")
    row.locator("a.address").click()
    page.get_by_label("Note").fill("Seen")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.go_back()
    page.go_back()

    expect(page.locator("li.alias")).to_have_count(120)
    page.wait_for_function("place => Math.abs(window.scrollY - place) < 50", arg=place)
    expect(page.locator("li.alias").nth(80)).to_contain_text("Seen")


def test_the_list_says_how_many_were_found(visit: Visit, alice: User, example_com: Domain) -> None:
    many_aliases(alice, example_com, 30)
    page = visit(alice)
    page.goto("/aliases/")
    expect(page.get_by_text("30 aliases", exact=True)).to_be_visible()

    page.get_by_label("Search").fill("site1")

    expect(page.get_by_text("11 aliases", exact=True).first).to_be_visible()
    expect(page.locator("#live")).to_have_text("11 aliases")


def test_the_list_goes_on_without_scripts(visit: Visit, alice: User, example_com: Domain) -> None:
    many_aliases(alice, example_com, 30)
    page = visit(alice, java_script_enabled=False)
    page.goto("/aliases/")

    page.get_by_role("link", name="Show more").click()

    expect(page.locator("li.alias")).to_have_count(5)
    expect(page.get_by_text("30 aliases", exact=True)).to_be_visible()


def test_a_double_click_makes_one_alias(visit: Visit, alice: User) -> None:
    page = visit(alice)
    quick(page)

    page.get_by_role("button", name=CREATE).dblclick()

    expect(page.locator(".alias--new a.address")).to_have_text(re.compile(r"^github\."))
    page.wait_for_timeout(300)
    assert Alias.objects.count() == 1


def test_an_impatient_second_click_makes_one_alias(visit: Visit, alice: User) -> None:
    page = visit(alice)
    slow(page, "**/aliases/quick/")
    quick(page)

    page.get_by_role("button", name=CREATE).click()
    expect(page.get_by_role("button", name=CREATE)).to_be_disabled()
    page.get_by_role("button", name=CREATE).click(force=True)

    expect(page.locator(".alias--new a.address")).to_be_visible()
    page.wait_for_timeout(300)
    assert Alias.objects.count() == 1


@pytest.mark.parametrize("gap", [0, 700])
def test_a_form_with_a_page_of_its_own_is_sent_once(visit: Visit, alice: User, gap: int) -> None:
    page = visit(alice)
    page.goto("/aliases/new/")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    slow(page, "**/aliases/new/")
    button = page.get_by_role("button", name=CREATE)

    # The second one from the page itself: Playwright would wait for the answer to the first.
    button.evaluate("(button, gap) => { button.click(); setTimeout(() => button.click(), gap); }", gap)

    expect(page.get_by_text("Your new alias is ready.")).to_be_visible()
    assert len(sent) == 1
    assert Alias.objects.count() == 1


def slow(page: Page, pattern: str) -> None:
    """Let requests there take a second."""

    def wait(route: Route) -> None:
        page.wait_for_timeout(1000)
        route.continue_()

    page.route(pattern, wait)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "The server cannot be reached."),
        (403, "no longer sends the cookies"),
        (404, "This no longer exists."),
        (429, "Too many requests."),
        (500, "Something went wrong on our side."),
        (502, "Something went wrong on our side."),
        (503, "not available for a moment"),
    ],
)
def test_a_request_that_fails_says_so_and_keeps_what_was_typed(
    visit: Visit, alice: User, answer: int | None, words: str
) -> None:
    page = visit(alice)
    page.route("**/aliases/quick/", lambda route: route.fulfill(status=answer) if answer else route.abort())
    quick(page)

    page.get_by_role("button", name=CREATE).click()

    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.get_by_label("Website")).to_have_value("https://www.github.com/login")
    page.unroute("**/aliases/quick/")
    page.get_by_role("button", name=CREATE).click()
    expect(page.locator(".alias--new a.address")).to_be_visible()
    expect(page.locator("#notice")).to_be_hidden()


def test_a_row_that_was_deleted_in_another_tab_says_so(visit: Visit, alice: User) -> None:
    alias = issue(owner=alice)
    page = visit(alice)
    page.goto("/aliases/")
    alias.soft_delete()

    page.get_by_role("switch").click()

    expect(page.get_by_role("alert")).to_contain_text("deleted in another tab")


@pytest.mark.parametrize("where", ["list", "alias"])
def test_what_was_typed_survives_the_end_of_the_session(visit: Visit, alice: User, where: str) -> None:
    alias = issue(owner=alice)
    page = visit()
    sign_in(page, "alice@example.com", PASSWORD)
    if where == "list":
        quick(page)
        field, button = page.get_by_label("Website"), page.get_by_role("button", name=CREATE)
    else:
        page.goto(f"/aliases/{alias.pk}/")
        field, button = page.get_by_label("Note"), page.get_by_role("button", name="Save")
        field.fill("two\nlines")
    typed = field.input_value()
    Session.objects.all().delete()

    button.click()
    page.get_by_label("E-mail address").fill("alice@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()

    expect(field).to_have_value(typed)
    expect(page.get_by_role("alert")).to_contain_text("What you typed is still here")
    button.click()
    expect(page.get_by_text("Saved." if where == "alias" else "Your new alias is ready")).to_be_visible()
    page.reload()
    expect(page.locator("#notice")).to_be_hidden()


def test_signing_out_and_in_again_loses_nothing_and_says_nothing(visit: Visit, alice: User) -> None:
    page = visit()
    sign_in(page, "alice@example.com", PASSWORD)

    page.get_by_role("button", name="Sign out").click()
    sign_in(page, "alice@example.com", PASSWORD)

    expect(page.locator("#notice")).to_be_hidden()


def test_what_is_sent_to_the_sign_in_pages_is_not_kept(visit: Visit, alice: User) -> None:
    page = visit()
    page.goto("/accounts/password/reset/")
    page.get_by_label("E-mail address").fill("no address@")
    page.locator("main form").last.evaluate("form => { form.noValidate = true; }")
    page.get_by_label("E-mail address").press("Enter")
    expect(page.locator(".errorlist").first).to_be_visible()

    expect(page.locator("#notice")).to_be_hidden()
    assert "no address" not in page.evaluate("JSON.stringify(sessionStorage)")


def test_passwords_are_never_kept(visit: Visit, alice: User) -> None:
    page = visit()
    sign_in(page, "alice@example.com", PASSWORD)

    assert PASSWORD not in page.evaluate("JSON.stringify(sessionStorage)")


def test_words_that_are_no_website_become_the_note(visit: Visit, alice: User) -> None:
    page = visit(alice)
    page.goto("/aliases/")
    page.get_by_label("Website").fill("Netflix account")
    page.get_by_role("button", name=CREATE).click()
    expect(page.locator(".alias--new a.address")).to_be_visible()

    alias = Alias.objects.get()
    assert (alias.note, alias.hostname) == ("Netflix account", "")


def test_a_website_that_is_none_is_refused_and_the_old_one_stays(
    visit: Visit, alice: User, example_com: Domain
) -> None:
    alias = issue(owner=alice, hostname="www.github.com")
    page = visit(alice)
    page.goto(f"/aliases/{alias.pk}/")
    page.get_by_label("Website").fill("my shop")
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_text("Write the website as www.github.com")).to_be_visible()
    expect(page.get_by_label("Website")).to_have_value("my shop")
    alias.refresh_from_db()
    assert alias.hostname == "www.github.com"


def test_a_deleted_alias_opened_again_can_be_restored(visit: Visit, alice: User) -> None:
    alias = issue(owner=alice)
    page = visit(alice)
    alias.soft_delete()

    page.goto(f"/aliases/{alias.pk}/")
    page.get_by_role("button", name=re.compile("^Restore")).click()

    expect(page.get_by_text("has been restored.").first).to_be_visible()
    alias.refresh_from_db()
    assert not alias.is_deleted
