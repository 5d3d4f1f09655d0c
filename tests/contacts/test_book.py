"""The book of contacts: many at once, in few statements, within limits."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from contacts.book import PER_MESSAGE, Wanted, add_contact, contacts_for_all, find_all
from contacts.models import Contact
from tests.rig.correspondents import contacts_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


def test_correspondents_become_contacts_once(alias: Alias) -> None:
    first = contacts_for(alias.pk, [("Bob@Shop.test", "Bob"), ("eve@evil.test", None)])
    again = contacts_for(alias.pk, [("bob@shop.test", "Robert"), ("eve@evil.test", "Eve")])

    assert first == again
    pair = (alias.pk, "bob@shop.test")
    assert find_all([pair, (alias.pk, "other@shop.test")]) == {pair: first["bob@shop.test"]}
    assert {address: row.name for address, row in first.items()} == {
        "bob@shop.test": "Bob",
        "eve@evil.test": "",
    }
    assert Contact.objects.count() == 2
    bob = Contact.objects.get(address="bob@shop.test")
    assert first["bob@shop.test"] == (
        bob.pk, alias.pk, "bob@shop.test", "Bob", False, bob.reverse_address, False, False, 0
    )  # fmt: skip


def test_what_is_no_correspondent_is_left_out(alias: Alias) -> None:
    reverse = add_contact(alias, "bob@shop.test")[0].reverse_address

    found = contacts_for(
        alias.pk,
        [
            ("nobody", None),
            ("a b@shop.test", None),
            (reverse, "Bob"),
            ("\ud800@x.test", None),
            ("ok@x.test", "\0\ud800O\nK"),
        ],
    )

    assert {address: row.name for address, row in found.items()} == {"ok@x.test": "O K"}


def test_a_message_makes_a_bounded_number(alias: Alias) -> None:
    found = contacts_for(alias.pk, [(f"b{number}@shop.test", None) for number in range(100)])

    assert len(found) == Contact.objects.count() == PER_MESSAGE
    assert "b0@shop.test" in found


def test_whoever_is_named_beside_the_alias_costs_no_author_a_contact(alias: Alias, settings: Any) -> None:
    settings.CONTACTS_PER_DAY = 1
    contacts_for(alias.pk, [("amy@shop.test", None), ("ben@shop.test", None)])

    found = contacts_for(alias.pk, [("zoe@shop.test", ""), ("cat@shop.test", None)])

    assert list(found) == ["zoe@shop.test"]
    assert contacts_for(alias.pk, [("yan@shop.test", "Yan")]) == {}


def test_a_person_gets_a_bounded_number_in_a_day(alias: Alias, alice: User, settings: Any) -> None:
    settings.CONTACTS_PER_DAY = 3
    contacts_for(alias.pk, [("b1@shop.test", None), ("b2@shop.test", None)])

    found = contacts_for(issue(owner=alice).pk, [("b3@shop.test", None), ("b4@shop.test", None)])

    assert list(found) == ["b3@shop.test"]
    assert contacts_for(alias.pk, [("b5@shop.test", None)]) == {}
    assert len(contacts_for(alias.pk, [("b1@shop.test", None)])) == 1
    # Strangers cannot use up what the owner may add.
    assert contacts_for_all([Wanted(alias.pk, (("b6@shop.test", None),), by_owner=True)])[0]


def test_several_messages_at_once_are_a_handful_of_statements(
    alias: Alias, alice: User, django_assert_num_queries: Callable[[int], Any]
) -> None:
    other = issue(owner=alice)
    wanted = [
        Wanted(alias.pk, (("bob@shop.test", "Bob"), ("eve@evil.test", None))),
        Wanted(other.pk, (("bob@shop.test", "Bobby"),)),
        Wanted(other.pk, (("bob@shop.test", None),), by_owner=True),
        Wanted(other.pk, ()),
    ]

    # Found none; savepoint, aliases with owners, two counters, insert, savepoint; found again.
    with django_assert_num_queries(8):
        first = contacts_for_all(wanted)
    with django_assert_num_queries(1):
        again = contacts_for_all(wanted)

    assert first == again
    assert [sorted(each) for each in first] == [
        ["bob@shop.test", "eve@evil.test"], ["bob@shop.test"], ["bob@shop.test"], []
    ]  # fmt: skip
    # Each alias has its own Bob, although both are asked for together.
    assert first[0]["bob@shop.test"].contact_id != first[1]["bob@shop.test"].contact_id
    with django_assert_num_queries(0):
        assert contacts_for(alias.pk, []) == {}


def test_strangers_wait_until_the_owner_writes_to_them(alias: Alias) -> None:
    bob = (("bob@shop.test", None),)
    (stranger,) = contacts_for_all([Wanted(alias.pk, bob, waiting=True)])
    assert stranger["bob@shop.test"].is_waiting
    assert contacts_for(alias.pk, bob) == stranger

    (known,) = contacts_for_all([Wanted(alias.pk, bob, by_owner=True)])

    assert not known["bob@shop.test"].is_waiting
    assert not Contact.objects.get().waiting


def test_an_alias_that_is_gone_gets_no_contact(alias: Alias) -> None:
    alias.soft_delete()

    assert contacts_for(alias.pk, [("bob@shop.test", None)]) == {}
    assert contacts_for(0, [("bob@shop.test", None)]) == {}


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgresql
def test_messages_at_the_same_moment_make_a_contact_once(alias: Alias, alice: User) -> None:
    aliases = [alias, *(issue(owner=alice) for _number in range(3))]
    barrier = threading.Barrier(4)
    found: list[Any] = []

    def make(number: int) -> None:
        try:
            barrier.wait()
            order = aliases[number:] + aliases[:number]
            named = tuple((f"b{each}@shop.test", None) for each in range(5))
            found.append(contacts_for_all([Wanted(each.pk, named) for each in order]))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Contact.objects.count() == 20
    assert len({row.contact_id for each in found for book in each for row in book.values()}) == 20
