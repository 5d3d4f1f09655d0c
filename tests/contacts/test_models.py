"""Contacts: one for each alias and correspondent, with a reverse address that nobody can guess."""

import re
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import User
from accounts.models.own_addresses import check_available
from aliases.exceptions import InvalidValue
from aliases.issuing import issue, issue_chosen
from aliases.models import Admits, Alias, AliasPreferences
from contacts.addresses import is_reverse_address, looks_like_reverse, new_reverse_address
from contacts.book import add_contact
from contacts.exceptions import NotACorrespondent
from contacts.models import Contact
from core.exceptions import RateLimited
from mail.models import Activity, Event

pytestmark = pytest.mark.django_db


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


@pytest.fixture
def bob(alias: Alias) -> Contact:
    contact, _existed = add_contact(alias, "Bob <bob@shop.test>")
    return contact


def test_a_new_contact_has_an_address_of_ours_that_nobody_can_guess(alias: Alias, bob: Contact) -> None:
    others = {add_contact(alias, f"b{number}@shop.test")[0].reverse_address for number in range(20)}

    assert re.fullmatch(r"r\.[a-z2-7]{26}@example\.com", bob.reverse_address)
    assert len(others | {bob.reverse_address}) == 21
    assert (bob.address, bob.name, bob.forwards, bob.replies, bob.blocks) == ("bob@shop.test", "Bob", 0, 0, 0)
    assert bob.last_activity is None


def test_an_alias_has_each_correspondent_once(alias: Alias, bob: Contact, alice: User) -> None:
    again, existed = add_contact(alias, "Robert <BOB@Shop.TEST>")
    elsewhere, new = add_contact(issue(owner=alice), "bob@shop.test")

    assert (again, existed, again.name) == (bob, True, "Bob")
    assert not new
    assert elsewhere.reverse_address != bob.reverse_address
    with pytest.raises(IntegrityError), transaction.atomic():
        Contact.objects.create(
            alias=alias, address="bob@shop.test", reverse_address=new_reverse_address("example.com")
        )
    with pytest.raises(IntegrityError), transaction.atomic():
        Contact.objects.create(alias=alias, address="other@shop.test", reverse_address=bob.reverse_address)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Bob@BÜCHER.example", "bob@xn--bcher-kva.example"),
        ('"Bob Builder" <bob@shop.test>', "bob@shop.test"),
        ('"bob builder"@shop.test', '"bob builder"@shop.test'),
        ("BÖB@shop.test", "böb@shop.test"),
        ("bo\u0308b@shop.test", "böb@shop.test"),
        ("bob+tag@shop.test", "bob+tag@shop.test"),
    ],
)
def test_addresses_have_one_form(alias: Alias, text: str, address: str) -> None:
    assert add_contact(alias, text)[0].address == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bob",
        "@shop.test",
        "bob@",
        "bob@localhost",
        "b ob@shop.test",
        "bob@shop.test, eve@shop.test",
        "Bob <bob@shop.test> <eve@shop.test>",
        "bob@shop.test\r\nBcc: eve@shop.test",
        "bö b@shop.test",
        "bö\u2028b@shop.test",
        "\ud800@shop.test",
        '"bob"x@shop.test',
        '"b\nob"@shop.test',
        f"{'ö' * 33}@shop.test",
        f"{'b' * 65}@shop.test",
        "bob@[192.0.2.1]",
    ],
)
def test_what_is_no_address_is_no_contact(alias: Alias, text: str) -> None:
    with pytest.raises(NotACorrespondent):
        add_contact(alias, text)
    assert not Contact.objects.exists()


def test_neither_a_reverse_address_nor_the_alias_is_its_own_contact(alias: Alias, bob: Contact) -> None:
    for text in (bob.reverse_address.upper(), f"Bob <{bob.reverse_address}>", alias.address.upper()):
        with pytest.raises(NotACorrespondent):
            add_contact(alias, text)


def test_a_reverse_address_is_nobodys_own_address_nor_an_alias(alice: User, bob: Contact) -> None:
    with pytest.raises(ValidationError):
        check_available(bob.reverse_address.upper())
    with pytest.raises(InvalidValue):
        issue_chosen(owner=alice, prefix=bob.reverse_address.partition("@")[0])
    with pytest.raises(InvalidValue):
        issue_chosen(owner=alice, prefix="r.shop")
    assert not issue(owner=alice, hostname="r.com").address.startswith("r.")


def test_reverse_addresses_are_known_by_their_form() -> None:
    made = new_reverse_address("example.com")

    assert is_reverse_address(made)
    assert is_reverse_address(made.upper())
    # Mail to these arrives too.
    local_part, _, domain = made.partition("@")
    assert is_reverse_address(f"{local_part}+tag@{domain}")
    assert is_reverse_address(f'"{local_part}+a tag"@{domain}')
    for local_part in ("r.shop", "r.", f"r.{'a' * 25}", f"r.{'a' * 27}", f"r.{'1' * 26}", f"x{'a' * 26}"):
        assert not looks_like_reverse(local_part)


def test_what_the_owner_adds_in_a_day_is_limited(alias: Alias, settings: object) -> None:
    settings.CONTACTS_PER_DAY = 2  # type: ignore[attr-defined]
    add_contact(alias, "one@shop.test")
    add_contact(alias, "two@shop.test")

    with pytest.raises(RateLimited):
        add_contact(alias, "three@shop.test")
    assert add_contact(alias, "two@shop.test")[1]
    assert Contact.objects.count() == 2


def test_a_contact_is_blocked_and_unblocked(bob: Contact) -> None:
    bob.block()
    assert not Contact.objects.admitted().exists()
    assert bob.toggle() is False
    assert bob.toggle() is True
    bob.unblock()

    assert Contact.objects.admitted().get() == bob


def test_a_stranger_waits_until_the_owner_says_yes(alias: Alias, bob: Contact) -> None:
    bob.waiting = True
    bob.save()
    assert list(Contact.objects.waiting_for_owner()) == [bob]
    assert not Contact.objects.admitted().exists()

    bob.admit()
    assert Contact.objects.admitted().get() == bob
    Contact.objects.update(waiting=True)
    again, existed = add_contact(alias, "bob@shop.test")

    assert existed
    assert not again.waiting


def test_the_owners_name_for_a_contact_stays(bob: Contact) -> None:
    bob.rename("  The\r\nBuilder ")
    bob.refresh_from_db()
    assert (bob.name, bob.is_name_kept) == ("The Builder", True)

    bob.rename("")
    bob.refresh_from_db()
    assert (bob.name, bob.is_name_kept) == ("", False)
    with pytest.raises(InvalidValue):
        bob.rename("x" * 129)


def test_strangers_see_nobodys_contacts(bob: Contact, alice: User, mallory: User) -> None:
    assert list(Contact.objects.owned_by(alice)) == [bob]
    assert not Contact.objects.owned_by(mallory).exists()
    bob.alias.soft_delete()
    assert not Contact.objects.owned_by(alice).exists()


def test_contacts_are_found_by_name_and_address(alias: Alias, bob: Contact) -> None:
    add_contact(alias, "eve@evil.test")

    for text in ("BOB", "shop.t", "b", " bob@ "):
        assert list(Contact.objects.search(text)) == [bob], text
    for text in ("", "\0"):
        assert Contact.objects.search(text).count() == 2
    assert not Contact.objects.search("%").exists()


def test_a_stripped_alias_keeps_no_contact(alias: Alias, bob: Contact) -> None:
    alias.hides_replies, alias.admits = True, Admits.KNOWN
    alias.save()
    Activity.objects.create(alias=alias, event=Event.REPLY, contact=bob)

    Alias.objects.filter(pk=alias.pk).strip()

    alias.refresh_from_db()
    assert not Contact.objects.exists()
    assert not Activity.objects.exists()
    assert (alias.hides_replies, alias.admits) == (False, Admits.ALL)


def test_activity_outlives_its_contact(alias: Alias, bob: Contact) -> None:
    row = Activity.objects.create(alias=alias, event=Event.FORWARD, sender=bob.address, contact=bob)

    bob.delete()

    row.refresh_from_db()
    assert (row.contact, row.sender) == (None, "bob@shop.test")


def test_new_aliases_hide_their_owner_unless_the_owner_prefers_otherwise(alice: User) -> None:
    assert issue(owner=alice).hides_replies

    AliasPreferences.objects.create(user=alice, hides_replies=False)
    alice.refresh_from_db()

    assert not issue(owner=alice).hides_replies
    assert not issue_chosen(owner=alice, prefix="chosen").hides_replies


def test_strangers_who_waited_in_vain_are_forgotten(alias: Alias, bob: Contact) -> None:
    long_ago = timezone.now() - timedelta(days=31)
    waiting, newer, blocked = (add_contact(alias, f"{name}@x.test")[0] for name in ("a", "b", "c"))
    Contact.objects.update(created=long_ago, waiting=True)
    Contact.objects.filter(pk=newer.pk).update(created=timezone.now())
    bob.admit()
    blocked.block()

    call_command("prune_activity")

    assert set(Contact.objects.all()) == {bob, newer, blocked}
    assert not Contact.objects.filter(pk=waiting.pk).exists()
