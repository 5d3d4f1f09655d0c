"""The managers' pages."""

import pytest
from allauth.account.models import EmailAddress
from django.core.mail import EmailMessage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import AccessGrant, Domain
from tokens.models import Token

pytestmark = pytest.mark.django_db


def test_a_manager_sees_the_own_domains_alone(browser: Client, alice: User, other_org: Domain) -> None:
    assert browser.get("/domains/").status_code == 404
    assert "/domains/" not in browser.get("/aliases/").content.decode()
    other_org.managers.add(alice)

    listed = browser.get("/domains/").content.decode()

    assert "other.org" in listed
    assert "/domains/example.com/" not in listed
    assert browser.get("/domains/example.com/").status_code == 404
    assert browser.post("/domains/example.com/", {"email": alice.email}).status_code == 404
    assert browser.get("/domains/no domain/").status_code == 404
    assert browser.get("/domains/OTHER.org/").status_code == 200


def test_an_inactive_managers_domains_are_nobodys(alice: User, other_org: Domain) -> None:
    other_org.managers.add(alice)
    alice.deactivate()

    assert not Domain.objects.managed_by(alice).exists()


def test_a_grant_answers_once_whether_there_is_an_account(
    browser: Client, alice: User, mallory: User, other_org: Domain, settings: Settings
) -> None:
    settings.GRANTS_PER_HOUR = 3
    other_org.managers.add(alice)

    said = browser.post("/domains/other.org/", {"email": " MALLORY@evil.test"}, follow=True).content.decode()
    again = browser.post("/domains/other.org/", {"email": mallory.email}, follow=True)
    unknown = browser.post("/domains/other.org/", {"email": "nobody@evil.test"})
    too_many = browser.post("/domains/other.org/", {"email": "nobody2@evil.test"})

    assert "mallory@evil.test may create aliases on other.org." in said
    assert "mallory@evil.test already has access to other.org." in again.content.decode()
    assert AccessGrant.objects.get().granted_by == alice
    assert "Nobody signs in with this address." in unknown.content.decode()
    assert 'value="nobody@evil.test"' in unknown.content.decode()
    assert "Too many grants for now." in too_many.content.decode()


@pytest.mark.django_db(transaction=True)
def test_who_gets_access_is_told_once_by_mail(
    browser: Client, alice: User, mallory: User, other_org: Domain, mailoutbox: list[EmailMessage]
) -> None:
    other_org.managers.add(alice)

    for address in (mallory.email, mallory.email, alice.email):
        browser.post("/domains/other.org/", {"email": address})

    (told,) = mailoutbox
    assert told.to == ["mallory@evil.test"]
    assert told.subject == "Anonmail: you may create aliases on other.org"
    assert "alice@example.com has given you access to other.org" in told.body
    assert "http://localhost:8000/aliases/new/" in told.body


def test_revoking_says_that_aliases_go_on_delivering(
    browser: Client, alice: User, mallory: User, other_org: Domain, example_com: Domain
) -> None:
    other_org.managers.add(alice)
    grant = other_org.grant(mallory, granted_by=alice)
    elsewhere = example_com.grant(mallory)
    alias = issue(owner=mallory, domain="other.org")

    assert browser.post(f"/domains/other.org/{elsewhere.pk}/revoke/").status_code == 404
    assert (
        "existing aliases still receive mail"
        in browser.get(f"/domains/other.org/{grant.pk}/revoke/").content.decode()
    )
    assert AccessGrant.objects.filter(pk=grant.pk).exists()
    browser.post(f"/domains/other.org/{grant.pk}/revoke/")

    assert not AccessGrant.objects.filter(pk=grant.pk).exists()
    assert alias in Alias.objects.receiving()


def test_the_domain_pages_take_the_same_statements_for_many_grants(
    browser: Client, alice: User, root: User, other_org: Domain
) -> None:
    other_org.managers.add(alice)

    def statements(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(path).status_code == 200
        return len(queries)

    other_org.grant(root, granted_by=alice)
    few = [statements(path) for path in ("/domains/", "/domains/other.org/", "/tokens/", "/addresses/")]
    for number in range(20):
        user = User.objects.create_user(f"user{number}@example.com")
        other_org.grant(user, granted_by=alice)
        Token.objects.issue(owner=alice, name=str(number))
        EmailAddress.objects.create(user=alice, email=f"alice{number}@home.test")

    many = [statements(path) for path in ("/domains/", "/domains/other.org/", "/tokens/", "/addresses/")]
    assert many == few
