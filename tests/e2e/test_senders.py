"""Answering about a new sender in a browser, with scripts and without."""

import pytest
from playwright.sync_api import expect

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, SenderDomain
from tests.e2e.conftest import Visit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alias(alice: User) -> Alias:
    alias = issue(owner=alice, hostname="shop.com")
    for domain in ("first.biz", "second.biz"):
        SenderDomain.objects.create(alias=alias, domain=domain)
    return alias


def test_an_answer_takes_its_mark_away_in_place_and_keeps_the_focus_in_the_page(
    visit: Visit, alice: User, alias: Alias
) -> None:
    page = visit(alice)
    page.goto("/aliases/")
    page.get_by_role("link", name="New sender").click()
    page.evaluate("window.isSamePage = true")

    page.get_by_role("form", name="first.biz").get_by_role("button", name="Fine").press("Enter")

    expect(page.get_by_role("form", name="first.biz")).to_have_count(0)
    expect(page.get_by_text(f"first.biz may write to {alias}.")).to_be_visible()
    expect(page.get_by_role("form", name="second.biz")).to_be_visible()
    assert page.evaluate("window.isSamePage")
    assert page.evaluate("document.activeElement.id") == "main"
    assert dict(SenderDomain.objects.values_list("domain", "answer")) == {
        "first.biz": "fine",
        "second.biz": "",
    }


def test_without_scripts_the_whole_page_answers(visit: Visit, alice: User, alias: Alias) -> None:
    page = visit(alice, java_script_enabled=False)
    page.goto(f"/aliases/{alias.pk}/#senders")

    page.get_by_role("form", name="second.biz").get_by_role("button", name="Disable the alias").click()

    expect(page.get_by_text(f"{alias} now refuses mail.")).to_be_visible()
    expect(page.get_by_text("New here")).to_have_count(0)
    alias.refresh_from_db()
    assert not alias.enabled
