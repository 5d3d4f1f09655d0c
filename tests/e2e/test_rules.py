"""A rule is made in a browser."""

import pytest
from playwright.sync_api import expect

from accounts.models import User
from rules.models import Rule
from tests.e2e.conftest import Visit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_only_a_header_field_is_asked_for_its_name(visit: Visit, alice: User, scripts: bool) -> None:
    page = visit(alice, java_script_enabled=scripts)
    page.goto("/rules/new/")
    page.get_by_label("Name", exact=True).fill("Lists")
    condition = page.get_by_role("group", name="Condition").first
    name = condition.get_by_label("Name of the header field")
    expect(name).to_be_hidden()

    condition.get_by_label("What").select_option("header field")
    name.fill("List-Id")
    condition.get_by_label("Values").fill("news")
    page.get_by_label("Block the message").check()
    page.get_by_role("button", name="Create rule").click()

    expect(page.get_by_role("link", name="Lists", exact=True)).to_be_visible()
    assert [(one.header, one.values) for one in Rule.objects.get().condition_list] == [("list-id", ("news",))]
