"""What people do, in a real browser."""

import re

import pytest
from playwright.sync_api import Page, expect
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from tests.e2e.conftest import Visit
from tokens.models import Token

pytestmark = pytest.mark.django_db(transaction=True)


def sign_in(page: Page, email: str, password: str) -> None:
    page.goto("/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Anonymous aliases")).to_be_visible()


def test_an_alias_is_made_copied_disabled_found_deleted_and_taken_back(visit: Visit, alice: User) -> None:
    page = visit()
    sign_in(page, "alice@example.com", "alice-password-1")

    page.get_by_label("Website").fill("https://www.github.com/login?return_to=x")
    page.get_by_role("button", name="Create alias").click()
    new = page.locator(".alias--new")
    expect(new.locator("a.address")).to_have_text(re.compile(r"^github\.[a-z]+@example\.com$"))
    address = new.locator("a.address").inner_text()
    # Ready to be copied by Enter.
    expect(new.get_by_role("button", name="Copy")).to_be_focused()
    page.keyboard.press("Enter")
    expect(new.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == address

    row = page.locator("li.alias", has_text=address)
    row.get_by_role("switch").click()
    expect(row.get_by_text("Disabled", exact=True)).to_be_visible()
    # The keyboard's focus is where it was: on the switch.
    expect(row.get_by_role("switch", checked=False)).to_be_focused()
    assert not Alias.objects.get(address=address).enabled

    page.get_by_label("Search").fill("no such thing")
    expect(page.get_by_text("No alias matches.")).to_be_visible()
    page.get_by_label("Search").fill("github")
    expect(row).to_be_visible()
    expect(page).to_have_url(re.compile("q=github"))

    row.locator("summary").click()
    row.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("has been deleted.").first).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Undo"))).to_be_focused()
    assert Alias.objects.get(address=address).is_deleted
    page.get_by_role("button", name=re.compile("^Undo")).click()
    expect(row.locator("summary")).to_be_focused()
    assert not Alias.objects.get(address=address).is_deleted


def test_a_token_is_made_and_used_with_what_the_page_shows(visit: Visit, alice: User) -> None:
    page = visit(alice)

    page.goto("/tokens/")
    page.get_by_role("link", name="New token").click()
    page.get_by_label("Password").fill("alice-password-1")
    page.get_by_role("button", name="Confirm").click()
    page.get_by_label("Name").fill("Bitwarden")
    page.get_by_role("button", name="Create token").click()
    key = page.locator("#key").inner_text()
    for words in (
        "Forwarded email alias",
        "SimpleLogin",
        "addy.io",
        "Email domain",
        "example.com",
        "API key",
        "Self-hosted server URL",
    ):
        expect(page.get_by_text(words, exact=True)).to_be_visible()
    shown_url = page.locator("dd code").last.inner_text()

    answer = APIClient(HTTP_AUTHENTICATION=key).post("/api/alias/random/new?hostname=shop.test")
    chosen = APIClient(HTTP_AUTHORIZATION=f"Bearer {key}").post(
        "/api/v1/aliases", {"domain": "example.com"}, format="json"
    )
    page.get_by_role("link", name="I have copied it").click()

    assert answer.status_code == chosen.status_code == 201
    assert not shown_url.endswith("/")
    assert key not in page.content()
    page.goto("/aliases/")
    expect(page.get_by_role("link", name=answer.json()["alias"])).to_be_visible()
    page.goto("/tokens/")
    page.get_by_role("link", name=re.compile("^Revoke")).click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("has been revoked")).to_be_visible()
    assert not Token.objects.exists()


def test_a_manager_grants_access_and_takes_it_back(
    visit: Visit, alice: User, mallory: User, other_org: Domain
) -> None:
    other_org.managers.add(alice)
    manager, user = visit(alice), visit(mallory)

    user.goto("/aliases/")
    expect(user.get_by_text("There is no domain on which you may create aliases.")).to_be_visible()

    manager.goto("/aliases/")
    manager.get_by_role("link", name="Domain access").click()
    manager.get_by_role("link", name="other.org", exact=True).click()
    manager.get_by_label("E-mail address").fill("nobody@nowhere.test")
    manager.get_by_role("button", name="Grant access").click()
    expect(manager.get_by_text("Nobody signs in with this address.")).to_be_visible()
    expect(manager.get_by_label("E-mail address")).to_have_value("nobody@nowhere.test")
    manager.get_by_label("E-mail address").fill("Mallory@Evil.test")
    manager.get_by_role("button", name="Grant access").click()
    expect(manager.get_by_text("mallory@evil.test may create aliases on other.org.")).to_be_visible()

    user.reload()
    user.get_by_role("button", name="Create alias").click()
    expect(user.locator(".alias--new a.address")).to_have_text(re.compile(r"@other\.org$"))
    address = user.locator(".alias--new a.address").inner_text()

    manager.get_by_role("link", name="Revoke mallory@evil.test").click()
    expect(manager.get_by_text("Their existing aliases still receive mail.")).to_be_visible()
    manager.get_by_role("button", name="Revoke").click()
    expect(manager.get_by_text("no longer has access")).to_be_visible()

    user.get_by_role("button", name="Create alias").click()
    expect(user.get_by_text("There is no domain on which you may create aliases.")).to_be_visible()
    user.goto("/aliases/")
    expect(user.get_by_role("link", name=address)).to_be_visible()
    assert Alias.objects.receiving().filter(address=address).exists()


def test_the_list_works_without_javascript(visit: Visit, alice: User) -> None:
    page = visit(java_script_enabled=False)
    sign_in(page, "alice@example.com", "alice-password-1")

    page.get_by_label("Website").fill("shop.test")
    page.get_by_role("button", name="Create alias").click()
    expect(page.get_by_text("Your new alias is ready.")).to_be_visible()
    address = page.locator(".large__address").inner_text()
    page.get_by_label("Note").fill("Shoes")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()

    page.goto("/aliases/")
    row = page.locator("li.alias", has_text=address)
    row.get_by_role("switch").click()
    expect(row.get_by_text("Disabled", exact=True)).to_be_visible()
    page.get_by_label("Search").fill("shoes")
    page.get_by_label("Status").select_option("Disabled")
    page.get_by_role("button", name="Show").click()
    expect(row).to_be_visible()
    row.get_by_role("switch", checked=False).click()
    # Back in the list as it was filtered.
    expect(page).to_have_url(re.compile("q=shoes"))
    expect(page.get_by_text("No alias matches.")).to_be_visible()

    page.goto("/aliases/")
    row.locator("summary").click()
    row.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("1 alias has been deleted.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(row).to_be_visible()
    page.get_by_label(f"Select {address}").check()
    page.locator(".bulk").get_by_role("button", name="Delete").click()
    page.goto("/aliases/deleted/")
    page.get_by_role("link", name=f"Remove permanently {address}").click()
    page.get_by_role("button", name="Remove permanently").click()
    expect(page.get_by_text("has been removed permanently.")).to_be_visible()

    left = Alias.objects.get()
    assert (left.address, left.owner, left.note) == (address, None, "")


def test_a_phone_is_enough(visit: Visit, alice: User) -> None:
    phone = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
    page = visit(**phone)
    sign_in(page, "alice@example.com", "alice-password-1")

    page.get_by_label("Website").fill("github.com")
    page.get_by_role("button", name="Create alias").tap()
    page.locator(".alias--new a.address").tap()
    page.get_by_label("Note").fill("On the way")
    page.get_by_role("button", name="Save").tap()
    page.get_by_role("link", name="Anonymous aliases").tap()
    page.get_by_label("Select ").first.check()
    page.locator(".bulk").get_by_role("button", name="Disable").tap()
    expect(page.get_by_text("1 alias now refuses mail.")).to_be_visible()

    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    small = page.evaluate(
        """[...document.querySelectorAll("main button:not(.switch, .alias__note), main a.button")]
           .filter(e => e.offsetHeight && e.offsetHeight < 36).map(e => e.className)"""
    )
    assert wide <= 0
    assert small == []


def test_everything_in_the_list_is_done_by_keyboard(visit: Visit, alice: User) -> None:
    issue(owner=alice, hostname="github.com")
    page = visit(alice)
    page.goto("/aliases/")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.innerText.split('\\n')[0].trim()"))
        if page.evaluate("document.activeElement.role === 'switch'"):
            page.keyboard.press("Enter")
            break

    expect(page.locator("li.alias").get_by_text("Disabled", exact=True)).to_be_visible()
    assert {"Create alias", "More options", "Copy"} <= {text.split(" github")[0] for text in reached}


def test_an_ended_session_leads_to_the_sign_in_page_not_into_the_list(visit: Visit, alice: User) -> None:
    issue(owner=alice, hostname="github.com")
    page = visit(alice)
    page.goto("/aliases/?q=git")
    alice.deactivate()
    alice.activate()

    page.get_by_role("switch").click()

    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert "next=/aliases/%3Fq%3Dgit" in page.url or "next=%2Faliases%2F%3Fq%3Dgit" in page.url
