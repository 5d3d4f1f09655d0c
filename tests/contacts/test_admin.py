"""Contacts in Django admin."""

import pytest
from django.test import Client

from accounts.models import User
from aliases.issuing import issue
from contacts.book import add_contact
from contacts.models import Contact
from core.audit import AuditEntry

pytestmark = pytest.mark.django_db

LIST = "/admin/contacts/contact/"


def test_an_admin_reads_and_blocks_and_sees_no_reverse_address(boss: Client, alice: User) -> None:
    alias = issue(owner=alice)
    contact, _existed = add_contact(alias, "jane@shop.test")
    other, _existed = add_contact(alias, "bob@elsewhere.test")

    listed = boss.get(LIST).content.decode()
    one = boss.get(f"{LIST}{contact.pk}/change/").content.decode()
    boss.post(LIST, {"action": "block", "_selected_action": [contact.pk]})
    blocked = set(Contact.objects.filter(blocked=True))
    boss.post(LIST, {"action": "unblock", "_selected_action": [contact.pk]})

    assert "jane@shop.test" in listed
    assert contact.reverse_address not in listed + one
    assert other.reverse_address not in listed
    assert blocked == {contact}
    assert not Contact.objects.filter(blocked=True).exists()
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"contact.block", "contact.unblock"}
    assert boss.post(f"{LIST}{contact.pk}/delete/").status_code == 403
    assert boss.get(f"{LIST}add/").status_code == 403


@pytest.mark.parametrize("term", ["Jane@Shop.test", "alias"])
def test_the_search_finds_a_correspondent_or_an_aliass(boss: Client, alice: User, term: str) -> None:
    alias = issue(owner=alice)
    add_contact(alias, "jane@shop.test")
    add_contact(issue(owner=alice), "bob@elsewhere.test")

    page = boss.get(LIST, {"q": alias.address if term == "alias" else term}).content.decode()

    assert "jane@shop.test" in page
    assert "bob@elsewhere.test" not in page
    assert "jane@shop.test" not in boss.get(LIST, {"q": "nonsense"}).content.decode()
