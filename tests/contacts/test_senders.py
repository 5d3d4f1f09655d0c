"""The marks of new senders, and what an owner answers on the alias's page."""

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Admits, Alias, SenderDomain
from aliases.models.sender import SENDERS_MAX
from mail.models import Activity, Event

pytestmark = pytest.mark.django_db


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice, hostname="www.shop.co.uk")


def new_sender(alias: Alias, domain: str = "stranger.biz", **values: object) -> SenderDomain:
    sender = SenderDomain.objects.create(alias=alias, domain=domain, **values)
    Activity.objects.create(
        alias=alias, event=Event.FORWARD, sender=f"win@{domain}", sender_domain=domain, moment=timezone.now()
    )
    return sender


def page(browser: Client, alias: Alias) -> str:
    return browser.get(f"/aliases/{alias.pk}/").content.decode()


def test_a_new_sender_is_marked_in_the_activity_and_in_the_list(browser: Client, alias: Alias) -> None:
    other = issue(owner=alias.owner, hostname="other.com")
    new_sender(alias, is_proven=True)
    new_sender(alias, "xn--bcher-kva.de")

    shown = page(browser, alias)
    listed = browser.get("/aliases/").content.decode()

    assert "You made this alias for www.shop.co.uk." in shown
    assert "stranger.biz" in shown
    assert "verified by the mail server" in shown
    assert "bücher.de" in shown
    assert "claims to be" in shown
    # Two in the list of senders, two in the activity.
    assert shown.count("New here") == 4
    assert f'href="/aliases/{alias.pk}/#senders"' in listed
    assert f'href="/aliases/{other.pk}/#senders"' not in listed


def test_the_list_finds_aliases_with_new_senders(browser: Client, alias: Alias) -> None:
    other = issue(owner=alias.owner)
    new_sender(alias)
    new_sender(other, answer="fine")

    found = browser.get("/aliases/?status=senders").content.decode()

    assert alias.address in found
    assert other.address not in found


@pytest.mark.parametrize(
    ("given", "said", "state"),
    [
        ("fine", "stranger.biz may write to", (True, Admits.ALL, "fine", "")),
        ("block", "Mail from stranger.biz to", (True, Admits.ALL, "block", "")),
        ("known", "now takes mail only from its website", (True, Admits.KNOWN, "known", "known")),
        ("disable", "now refuses mail", (False, Admits.ALL, "disable", "disable")),
    ],
)
def test_each_answer_does_what_it_says_once(
    browser: Client, alias: Alias, given: str, said: str, state: tuple[bool, str, str, str]
) -> None:
    sender, other = new_sender(alias), new_sender(alias, "other.info")

    answer = browser.post(f"/senders/{sender.pk}/", {"answer": given, "back": "q=shop"}, follow=True)

    assert answer.redirect_chain == [(f"/aliases/{alias.pk}/?back=q%3Dshop", 302)]
    assert said in answer.content.decode()
    for row in (alias, sender, other):
        row.refresh_from_db()
    assert (alias.enabled, alias.admits, sender.answer, other.answer) == state
    assert answer.content.decode().count("New here") == (0 if other.answer else 2)


def test_letting_strangers_wait_stays_as_it_is(browser: Client, alias: Alias) -> None:
    alias.edit(admits=Admits.KNOWN_LATER)

    browser.post(f"/senders/{new_sender(alias).pk}/", {"answer": "known"})

    alias.refresh_from_db()
    assert alias.admits == Admits.KNOWN_LATER


def test_an_answer_can_be_changed(browser: Client, alias: Alias) -> None:
    sender = new_sender(alias, answer="block")
    shown = page(browser, alias)
    assert "1 answered" in shown
    assert "blocked" in shown

    browser.post(f"/senders/{sender.pk}/", {"answer": "fine"})

    sender.refresh_from_db()
    assert sender.answer == "fine"


@pytest.mark.parametrize("given", ["", "else", "FINE"])
def test_anything_else_is_no_answer(browser: Client, alias: Alias, given: str) -> None:
    sender = new_sender(alias)

    assert browser.post(f"/senders/{sender.pk}/", {"answer": given}).status_code == 404

    sender.refresh_from_db()
    assert sender.answer == ""


def test_a_strangers_and_a_deleted_aliass_senders_do_not_exist(
    browser: Client, alias: Alias, mallory: User
) -> None:
    sender = new_sender(alias)
    other = Client()
    other.force_login(mallory)

    assert other.post(f"/senders/{sender.pk}/", {"answer": "fine"}).status_code == 404
    alias.soft_delete()
    assert browser.post(f"/senders/{sender.pk}/", {"answer": "fine"}).status_code == 404


def test_a_page_says_when_no_more_senders_are_remembered(browser: Client, alias: Alias) -> None:
    SenderDomain.objects.bulk_create(
        SenderDomain(alias=alias, domain=f"s{number}.biz") for number in range(SENDERS_MAX)
    )

    assert f"{SENDERS_MAX} senders are remembered, and no more." in page(browser, alias)


def test_without_a_website_the_page_offers_to_set_it(browser: Client, alice: User) -> None:
    alias = issue(owner=alice)
    Activity.objects.create(alias=alias, event=Event.FORWARD, sender="win@stranger.biz")

    shown = page(browser, alias)

    assert "New senders are marked on an alias that has a website." in shown
    assert "New here" not in shown


def test_letters_of_another_script_are_told_apart(browser: Client, alias: Alias) -> None:
    new_sender(alias, "xn--pple-43d.com")  # \u0430pple.com, with a Cyrillic letter

    assert "\u0430pple.com (xn--pple-43d.com)" in page(browser, alias)


@pytest.mark.parametrize("given", ["", "fine", "known", "block"])
def test_a_sender_that_is_made_the_website_is_not_new(browser: Client, alias: Alias, given: str) -> None:
    new_sender(alias, "shop.de", answer=given)
    new_sender(alias, "stranger.biz", answer=given)

    alias.edit(hostname="www.shop.de")

    # A block stays until the owner takes it back.
    left = ["shop.de", "stranger.biz"] if given == "block" else ["stranger.biz"]
    assert sorted(alias.sender_domains.values_list("domain", flat=True)) == left


def test_senders_go_with_their_alias(alias: Alias) -> None:
    new_sender(alias)
    alias.soft_delete()

    Alias.objects.filter(pk=alias.pk).strip()

    assert not SenderDomain.objects.exists()


@pytest.mark.parametrize("number", [1, 20])
def test_the_page_takes_as_many_statements_for_any_number(
    browser: Client, alias: Alias, django_assert_num_queries: DjangoAssertNumQueries, number: int
) -> None:
    for each in range(number):
        new_sender(alias, f"stranger{each}.biz")
    page(browser, alias)

    # Session, user, managed domains, paused destinations; alias, its destinations and expiry, own addresses
    # and how many they are; correspondents, senders, activities, chart.
    with django_assert_num_queries(13):
        page(browser, alias)
