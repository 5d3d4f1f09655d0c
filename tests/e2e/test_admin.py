"""Django admin, where it must say more than that something was saved."""

import pytest
from playwright.sync_api import expect

from accounts.models import User
from domains.models import Domain
from tests.e2e.conftest import Visit


@pytest.mark.django_db(transaction=True)
def test_a_new_domain_whose_service_is_off_says_so_and_leads_to_the_switch(visit: Visit, root: User) -> None:
    page = visit(root)
    page.goto("/admin/domains/domain/add/")
    page.get_by_label("Name").fill("new.test")
    page.get_by_role("button", name="Save", exact=True).click()

    warning = page.get_by_text("The Anonymous Email Service of new.test is off: nobody can create")
    expect(warning).to_be_visible()
    page.get_by_role("link", name="Turn it on").click()
    page.get_by_label("Anonymous Email Service").check()
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.locator(".messagelist")).to_contain_text("successfully")
    expect(warning).to_have_count(0)
    assert Domain.objects.get().anonmail_enabled
