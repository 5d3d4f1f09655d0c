"""The first steps: each is ticked off when it is done, and all go when the last one is."""

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from anonmail_site.getting_started import first_steps
from domains.models import Domain
from tests.rig.pages import HTMX, many_aliases, text_of
from tests.rig.signing_in import give_second_factors
from tokens.models import Token

pytestmark = pytest.mark.django_db

TITLE = "First steps"


def done(user: User) -> list[bool]:
    return [step.is_done for step in first_steps(User.objects.get(pk=user.pk))]


def test_each_step_is_ticked_off_when_it_is_done(alice: User, browser: Client) -> None:
    assert done(alice) == [False] * 5

    alias = issue(owner=alice)
    assert done(alice) == [True, False, False, False, False]
    Alias.objects.filter(pk=alias.pk).update(forwards=1)
    assert done(alice) == [True, True, False, False, False]
    Token.objects.issue(owner=alice, name="phone")
    assert done(alice) == [True, True, True, False, False]
    second = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=False)
    assert done(alice) == [True, True, True, False, False]
    second.verified = True
    second.save()
    assert done(alice) == [True, True, True, True, False]
    assert TITLE in text_of(browser.get("/aliases/"))

    give_second_factors(alice)
    assert TITLE not in text_of(browser.get("/aliases/"))
    # For good: nothing is asked any more.
    alias.soft_delete()
    assert done(alice) == []


def test_they_are_asked_in_one_statement(
    alice: User, example_com: Domain, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(2):
        many_aliases(alice, example_com, 20)
        with django_assert_num_queries(1):
            first_steps(alice)
    alice.has_first_steps = False
    with django_assert_num_queries(0):
        assert first_steps(alice) == []


def test_they_are_hidden_for_good(alice: User, browser: Client) -> None:
    assert TITLE in text_of(browser.get("/aliases/"))

    said = browser.post("/appearance/", {"steps": "off", "next": "/aliases/"}, follow=True)

    assert TITLE not in text_of(said)


def test_they_are_where_the_end_of_the_list_is_near(
    alice: User, example_com: Domain, browser: Client
) -> None:
    assert TITLE not in text_of(browser.get("/aliases/?q=x"))
    created = browser.post("/aliases/quick/", {"hostname": "shop.test"}, headers=HTMX)
    assert f"{TITLE} Hide" in text_of(created)
    filtered = browser.post("/aliases/quick/", {"hostname": "shop.test", "back": "q=x"}, headers=HTMX)
    assert TITLE not in text_of(filtered)

    many_aliases(alice, example_com, 30)

    assert TITLE not in text_of(browser.get("/aliases/"))
