"""The API's page, which a package makes, as far as the package lets us."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.e2e.conftest import Visit

# Of the package's own making: buttons inside rows that can be clicked, the order of headings, and an
# introduction before its <main>.
THE_PACKAGES = {"nested-interactive", "heading-order", "region"}


@pytest.mark.django_db(transaction=True)
def test_the_apis_page_can_be_read_and_left(visit: Visit) -> None:
    page = visit(locale="de-DE")
    page.goto("/api/docs/")
    expect(page.locator(".opblock").first).to_be_visible()

    violations = [
        f"{violation['id']}: {node['any'][0]['data'] if node['any'] else ''} {node['html'][:100]}"
        for violation in Axe().run(page).response["violations"]
        if violation["id"] not in THE_PACKAGES
        for node in violation["nodes"]
    ]
    assert violations == []
    expect(page.locator("html")).to_have_attribute("lang", "de")
    page.get_by_role("link", name="← Zugangstokens").click()
    expect(page.get_by_role("heading", name="Anmelden")).to_be_visible()
