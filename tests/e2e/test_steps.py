"""Five daily journeys, each with the fewest steps: with keys, with a mouse alone, and on a phone.

The numbers are those of the table in docs/pages.md. A step is a click, a tap or a key; what is typed into a
field counts as one more.
"""

from dataclasses import dataclass

import pytest
from allauth.account.models import EmailAddress
from playwright.sync_api import Locator, Page, expect

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from contacts.book import add_contact
from contacts.models import Contact
from mail.models import Activity, Event
from tests.e2e.conftest import PHONE, Visit

pytestmark = pytest.mark.django_db(transaction=True)

DESK = {"viewport": {"width": 1440, "height": 900}}


@dataclass
class Counted:
    """A page whose steps are counted."""

    page: Page
    is_phone: bool = False
    steps: int = 0

    def press(self, target: Locator) -> None:
        """Click, or tap on a phone."""
        target.tap() if self.is_phone else target.click()
        self.steps += 1

    def key(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.steps += 1

    def type(self, words: str) -> None:
        """Words into the field that has the focus."""
        expect(self.page.locator("input:focus")).to_be_visible()
        self.page.keyboard.type(words)
        self.steps += 1

    def copied(self) -> str:
        expect(self.page.get_by_text("Copied ✓")).to_be_visible()
        return str(self.page.evaluate("navigator.clipboard.readText()"))


@pytest.fixture
def shop(alice: User) -> Alias:
    """One of several aliases of alice's, who has two mailboxes. Jane writes to it."""
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    shop = issue(owner=alice, hostname="shop.test")
    for _ in range(4):
        issue(owner=alice)
    jane, _existed = add_contact(shop, "jane@shop.test")
    primary = EmailAddress.objects.get(user=alice, primary=True)
    Activity.objects.create(
        alias=shop, event=Event.FORWARD, sender=jane.address, contact=jane, destination=primary
    )
    Alias.objects.filter(pk=shop.pk).update(forwards=1)
    return shop


@pytest.fixture
def keys(visit: Visit, alice: User, shop: Alias) -> Counted:
    page = visit(alice, **DESK)
    page.goto("/aliases/")
    return Counted(page)


@pytest.fixture(params=["mouse", "phone"])
def pointer(request: pytest.FixtureRequest, visit: Visit, alice: User, shop: Alias) -> Counted:
    is_phone = request.param == "phone"
    page = visit(alice, **(PHONE if is_phone else DESK))
    page.goto("/aliases/")
    return Counted(page, is_phone)


def row_of(page: Page, alias: Alias) -> Locator:
    return page.locator(f"#alias-{alias.pk}")


def is_enabled(alias: Alias) -> bool:
    return Alias.objects.get(pk=alias.pk).enabled


def test_make_and_copy_with_keys(keys: Counted) -> None:
    keys.key("n")
    keys.type("news.test")
    keys.key("Enter")
    expect(keys.page.locator(".alias--new .copy")).to_be_focused()
    keys.key("Enter")

    assert keys.copied() == Alias.objects.get(hostname="news.test").address
    assert keys.steps == 4


def test_make_and_copy_with_a_pointer(pointer: Counted) -> None:
    page = pointer.page
    pointer.press(page.get_by_label("Website, or a note"))
    pointer.type("news.test")
    pointer.press(page.get_by_role("button", name="Create alias"))
    pointer.press(page.locator(".alias--new .copy"))

    assert pointer.copied() == Alias.objects.get(hostname="news.test").address
    assert pointer.steps == 4


def test_find_and_disable_with_keys(keys: Counted, shop: Alias) -> None:
    keys.key("/")
    keys.type("shop")
    keys.key("Enter")
    expect(row_of(keys.page, shop).locator("a.address")).to_be_focused()
    keys.key("s")

    expect(row_of(keys.page, shop).get_by_role("switch", checked=False)).to_be_visible()
    assert not is_enabled(shop)
    assert keys.steps == 4


def test_find_and_disable_with_a_pointer(pointer: Counted, shop: Alias) -> None:
    page = pointer.page
    pointer.press(page.get_by_label("Search"))
    pointer.type("shop")
    expect(page.locator("#rows li")).to_have_count(1)
    pointer.press(row_of(page, shop).get_by_role("switch"))

    expect(row_of(page, shop).get_by_role("switch", checked=False)).to_be_visible()
    assert not is_enabled(shop)
    assert pointer.steps == 3


def shows_sender(row: Locator) -> bool:
    """Whether the row's facts, which may be cut short, show who wrote last."""
    expect(row.locator(".alias__sender")).to_contain_text("jane@shop.test")
    return bool(
        row.locator(".alias__sender").evaluate(
            """(sender) => {
              const [own, facts] = [sender, sender.parentElement].map((each) => each.getBoundingClientRect());
              return own.height && own.bottom <= facts.bottom + 1 && own.right <= facts.right + 1;
            }"""
        )
    )


def test_see_who_wrote_with_keys(keys: Counted, shop: Alias) -> None:
    assert shows_sender(row_of(keys.page, shop))
    assert keys.steps == 0

    # All who wrote, and when.
    keys.key("/")
    keys.type("shop")
    keys.key("Enter")
    expect(row_of(keys.page, shop).locator("a.address")).to_be_focused()
    keys.key("Enter")

    expect(keys.page.locator(".activity").get_by_text("jane@shop.test").first).to_be_visible()
    assert keys.steps == 4


def test_see_who_wrote_with_a_pointer(pointer: Counted, shop: Alias) -> None:
    row = row_of(pointer.page, shop)
    assert shows_sender(row)
    assert pointer.steps == 0

    pointer.press(row.locator("a.address"))

    expect(pointer.page.locator(".activity").get_by_text("jane@shop.test").first).to_be_visible()
    assert pointer.steps == 1


def test_block_a_sender_with_a_mouse(visit: Visit, alice: User, shop: Alias) -> None:
    page = visit(alice, **DESK)
    page.goto("/aliases/?order=newest")

    row_of(page, shop).get_by_role("button", name="Block jane@shop.test").click()

    expect(page.get_by_text("Mail from jane@shop.test is now refused.")).to_be_visible()
    expect(page).to_have_url("/aliases/?order=newest")
    assert Contact.objects.get().blocked
    # There is no such button for whoever is blocked.
    expect(page.get_by_role("button", name="Block jane@shop.test")).to_have_count(0)


def test_block_a_sender_with_keys(keys: Counted, shop: Alias) -> None:
    keys.key("/")
    keys.type("shop")
    keys.key("Enter")
    expect(row_of(keys.page, shop).locator("a.address")).to_be_focused()
    # Copy, note, destinations.
    keys.key("Tab", "Tab", "Tab", "Tab", "Enter")

    expect(keys.page.get_by_text("Mail from jane@shop.test is now refused.")).to_be_visible()
    assert Contact.objects.get().blocked
    assert keys.steps == 8


def test_block_a_sender_on_a_phone(visit: Visit, alice: User, shop: Alias) -> None:
    page = visit(alice, **PHONE)
    page.goto("/aliases/")
    phone = Counted(page, is_phone=True)

    phone.press(row_of(page, shop).locator("a.address"))
    phone.press(page.locator(".activity").get_by_role("button", name="Block jane@shop.test"))

    expect(page.get_by_text("Mail from jane@shop.test is now refused.")).to_be_visible()
    expect(page.get_by_role("heading", name=shop.address)).to_be_visible()
    assert Contact.objects.get().blocked
    assert phone.steps == 2


def test_move_to_another_mailbox_with_a_pointer(pointer: Counted, shop: Alias) -> None:
    page = pointer.page
    pointer.press(row_of(page, shop).get_by_role("link", name="alice@example.com", exact=True))
    pointer.press(page.get_by_label("alice@example.com"))
    pointer.press(page.get_by_label("alice@home.test"))
    pointer.press(page.get_by_role("button", name="Save"))

    expect(page.get_by_text("Saved.")).to_be_visible()
    moved = Alias.objects.get(pk=shop.pk)
    assert [address.email for address in moved.destination_addresses] == ["alice@home.test"]
    assert pointer.steps == 4


def test_move_to_another_mailbox_with_keys(keys: Counted, shop: Alias) -> None:
    page = keys.page
    keys.key("/")
    keys.type("shop")
    keys.key("Enter")
    expect(row_of(page, shop).locator("a.address")).to_be_focused()
    # Copy, note, destinations.
    keys.key("Tab", "Tab", "Tab", "Enter")
    expect(page.get_by_role("heading", name=shop.address)).to_be_visible()
    keys.key("Tab")
    expect(page.get_by_label("alice@example.com")).to_be_focused()
    keys.key("Space", "Tab", "Space", "Enter")

    expect(page.get_by_text("Saved.")).to_be_visible()
    moved = Alias.objects.get(pk=shop.pk)
    assert [address.email for address in moved.destination_addresses] == ["alice@home.test"]
    assert keys.steps == 12
