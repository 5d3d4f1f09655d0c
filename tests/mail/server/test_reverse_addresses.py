"""Reverse addresses at the doors: taken from everybody, and not to be told from unknown ones otherwise."""

import smtplib
from collections.abc import Iterator

import pytest
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from aliases.issuing import issue
from contacts.addresses import new_reverse_address
from contacts.book import add_contact
from contacts.models import Contact
from domains.models import Domain
from mail.delivery.resolve import Kind, our_domains, resolve, resolve_all
from mail.server.recipients import decide
from mail.server.socketmap import _answer
from tests.rig.mail_doors import Hop, running_doors

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN = (550, b"5.1.1 User unknown")


@pytest.fixture
def bob(alice: User) -> Contact:
    contact, _existed = add_contact(issue(owner=alice), "Bob <bob@shop.test>")
    return contact


@pytest.fixture
def smtp(example_com: Domain, settings: Settings) -> Iterator[smtplib.SMTP]:
    settings.MAIL_HOSTNAME = "mx.example.com"
    with running_doors(Hop(), "smtp") as places, smtplib.SMTP(*places["smtp"], timeout=20) as client:
        client.ehlo()
        client.mail("anybody@elsewhere.test")
        yield client


def test_a_reverse_address_stands_for_its_contact(bob: Contact) -> None:
    local_part, _, domain = bob.reverse_address.partition("@")

    for text in (bob.reverse_address, bob.reverse_address.upper(), f"{local_part}+tag@{domain}."):
        found = resolve(text)
        assert (found.kind, found.alias_id, found.contact_id) == (Kind.REVERSE, bob.alias_id, bob.pk), text
    assert resolve(f"{local_part}@other.test").kind is Kind.NOT_OURS
    assert resolve(new_reverse_address(domain)).kind is Kind.UNKNOWN


def test_a_disabled_alias_can_still_be_written_from_but_not_one_that_is_gone(
    bob: Contact, alice: User
) -> None:
    bob.alias.disable()
    assert resolve(bob.reverse_address).kind is Kind.REVERSE

    alice.deactivate()
    assert resolve(bob.reverse_address).kind is Kind.UNKNOWN
    alice.is_active = True
    alice.save()
    assert resolve(bob.reverse_address).kind is Kind.REVERSE
    bob.alias.soft_delete()
    assert resolve(bob.reverse_address).kind is Kind.UNKNOWN
    bob.alias.restore()
    bob.delete()
    assert resolve(bob.reverse_address).kind is Kind.UNKNOWN


def test_only_what_may_be_a_reverse_address_is_looked_for_among_contacts(
    bob: Contact, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    our_domains.shared()

    with django_assert_num_queries(1) as aliases:
        resolve_all([bob.alias.address, "nobody@example.com", "r.site@example.com"])
    with django_assert_num_queries(1) as contacts:
        resolve_all([bob.reverse_address, new_reverse_address("example.com")])
    with django_assert_num_queries(2):
        resolve_all([bob.reverse_address, bob.alias.address])
    assert ' FROM "aliases_alias"' in aliases.captured_queries[0]["sql"]
    assert ' FROM "contacts_contact"' in contacts.captured_queries[0]["sql"]


def test_anybody_may_name_a_reverse_address_and_nobody_can_guess_one(
    bob: Contact, smtp: smtplib.SMTP
) -> None:
    assert smtp.rcpt(bob.reverse_address)[0] == 250
    smtp.rset()
    smtp.mail("")
    assert smtp.rcpt(bob.reverse_address)[0] == 250

    assert smtp.rcpt(new_reverse_address("example.com")) == UNKNOWN
    Contact.objects.all().delete()
    assert smtp.rcpt(bob.reverse_address) == UNKNOWN == smtp.rcpt("nobody@example.com")


def test_postfix_hears_the_same(bob: Contact) -> None:
    unknown = new_reverse_address("example.com")

    assert decide(resolve(bob.reverse_address), "anybody@elsewhere.test").refusal is None
    assert decide(resolve(unknown), "anybody@elsewhere.test").refusal == "550 5.1.1 User unknown"
    assert _answer("key", resolve(bob.reverse_address)) == b"6:OK key,"
    assert _answer("key", resolve(unknown)) == b"9:NOTFOUND ,"


def test_beside_mailboxes_postfix_decides_about_unknown_ones(alice: User, root: User) -> None:
    Domain.objects.create(name="shared.org", anonmail_enabled=True, is_shared=True)
    bob, _existed = add_contact(issue(owner=root, domain="shared.org"), "bob@shop.test")

    known = decide(resolve(bob.reverse_address), "anybody@elsewhere.test")
    unknown = decide(resolve(new_reverse_address("shared.org")), "anybody@elsewhere.test")

    assert (known.refusal, known.is_guess) == (None, False)
    assert (unknown.refusal, unknown.is_guess) == (None, True)
