"""Filters, orders, and changes of all aliases that were found."""

import re
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aliases import bulk_views, filters, first_page
from aliases.filters import ORDERS, FilterForm
from aliases.issuing import issue
from aliases.models import Alias, AliasExpiry
from domains.models import Domain
from tests.rig.pages import many_aliases, text_of

pytestmark = pytest.mark.django_db


def shown(browser: Client, query: str) -> set[str]:
    text = page(browser, query)
    return {str(alias) for alias in Alias.objects.all() if f'id="alias-{alias.pk}"' in text}


def page(browser: Client, query: str = "") -> str:
    return browser.get(f"/aliases/?{query}").content.decode()


def test_each_filter_finds_its_own(browser: Client, alice: User, mallory: User) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    theirs = EmailAddress.objects.create(user=mallory, email="mallory@home.test", verified=True)
    plain, pinned, elsewhere, soon, later, off = (issue(owner=alice) for _ in range(6))
    pinned.edit(pinned=True)
    elsewhere.set_destinations([alice.email, home.email])
    AliasExpiry.objects.create(alias=soon, expires_at=timezone.now() + timedelta(days=6))
    AliasExpiry.objects.create(alias=later, expires_at=timezone.now() + timedelta(days=8))
    AliasExpiry.objects.create(alias=off, expires_at=timezone.now() + timedelta(days=6))
    off.disable()

    assert shown(browser, "status=pinned") == {str(pinned)}
    assert shown(browser, f"mailbox={home.pk}") == {str(elsewhere)}
    assert shown(browser, "status=ending") == {str(soon)}
    # Somebody else's mailbox is no choice, and counts as none.
    assert len(shown(browser, f"mailbox={theirs.pk}")) == 6
    assert str(plain) in shown(browser, "mailbox=x&status=&domain=")


def test_each_order_has_its_opposite(browser: Client, alice: User, example_com: Domain) -> None:
    many_aliases(alice, example_com, 7)
    for number, alias in enumerate(Alias.objects.all()):
        moment = timezone.now() - timedelta(days=number * 3 % 7)
        Alias.objects.filter(pk=alias.pk).update(
            pinned=number == 4, forwards=number // 2, blocks=number % 3, created=moment
        )
    orders = list(ORDERS)

    assert orders == [value for value, _label in FilterForm.ORDERS]
    for order, opposite in zip(orders[::2], orders[1::2], strict=True):
        there, back = (
            [part.split('"')[0] for part in page(browser, f"order={name}").split('id="alias-')[1:]]
            for name in (order, opposite)
        )
        assert there == back[::-1], order
        assert len(set(there)) == 7


def test_all_are_changed_in_a_few_statements(
    browser: Client, alice: User, example_com: Domain, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    many_aliases(alice, example_com, 300)
    AliasExpiry.objects.create(alias=Alias.objects.earliest("pk"), idle_days=3, expired_at=timezone.now())
    data = {"all": "300", "back": ""}

    with django_assert_max_num_queries(12):
        browser.post("/aliases/bulk/", data | {"action": "disable"})
    assert not Alias.objects.filter(enabled=True).exists()
    with django_assert_max_num_queries(12):
        browser.post("/aliases/bulk/", data | {"action": "enable"})
    assert not Alias.objects.filter(enabled=False).exists()
    assert not AliasExpiry.objects.exists()
    with django_assert_max_num_queries(12):
        browser.post("/aliases/bulk/", data | {"action": "delete"})
    assert not Alias.objects.present().exists()


def test_only_those_that_the_filters_find_are_changed(browser: Client, alice: User, root: User) -> None:
    shoes, boots, other = (issue(owner=alice, note=note) for note in ("shoes", "snow shoes", "other"))
    hers = issue(owner=root, domain="example.com", note="shoes")

    said = browser.post("/aliases/bulk/", {"action": "disable", "all": "2", "back": "q=shoes"}, follow=True)

    assert "2 aliases now refuse mail." in text_of(said)
    assert set(Alias.objects.filter(enabled=False)) == {shoes, boots}
    assert {other, hers} == set(Alias.objects.filter(enabled=True))


def test_a_list_that_has_changed_is_shown_first(browser: Client, alice: User) -> None:
    for _ in range(2):
        issue(owner=alice)

    said = browser.post("/aliases/bulk/", {"action": "delete", "all": "1"}, follow=True)

    assert "The list has changed meanwhile, so nothing was done." in text_of(said)
    assert Alias.objects.present().count() == 2


def test_a_longer_list_is_not_counted_to_its_end_and_is_changed_as_a_whole(
    browser: Client, alice: User, example_com: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (filters, bulk_views, first_page):
        monkeypatch.setattr(module, "COUNTED_MAX", 3)
    many_aliases(alice, example_com, 3)
    assert 'value="3" data-number="3"' in page(browser)
    assert "3 aliases" in page(browser)

    many_aliases(alice, example_com, 2)
    assert 'value="4" data-number="&gt; 3"' in page(browser)
    assert "more than 3 aliases" in page(browser)
    assert "more than 3 aliases" in browser.get("/aliases/", headers={"HX-Request": "true"}).content.decode()

    said = browser.post("/aliases/bulk/", {"action": "disable", "all": "3"}, follow=True)
    assert "The list has changed meanwhile, so nothing was done." in text_of(said)
    said = browser.post("/aliases/bulk/", {"action": "disable", "all": "4"}, follow=True)
    assert "5 aliases now refuse mail." in text_of(said)
    assert not Alias.objects.filter(enabled=True).exists()


def test_the_filter_offers_the_domains_on_which_there_are_aliases(
    browser: Client, alice: User, root: User, example_com: Domain
) -> None:
    unused, left = (Domain.objects.create(name=name) for name in ("unused.test", "left.test"))
    many_aliases(alice, example_com, 1)
    kept, deleted, hers = (
        Alias.objects.create(address=f"one@{domain.name}", domain=domain, owner=owner)
        for owner, domain in (
            (alice, left),
            (alice, Domain.objects.create(name="deleted.test")),
            (root, Domain.objects.create(name="hers.test")),
        )
    )
    deleted.soft_delete()

    select = page(browser).partition('id="id_domain"')[2].partition("</select>")[0]

    assert re.findall(r">([^<>]+)</option>", select) == ["All domains", example_com.name, kept.domain.name]
    assert unused.name not in select
    assert hers.domain.name not in select


def test_only_what_was_deleted_together_is_restored(
    browser: Client, alice: User, root: User, example_com: Domain
) -> None:
    before, one, two = (issue(owner=alice) for _ in range(3))
    before.soft_delete()
    browser.post("/aliases/bulk/", {"action": "delete", "selected": [one.pk, two.pk]})
    one.refresh_from_db()
    assert one.deleted_at
    hers = issue(owner=root, domain="example.com")
    Alias.objects.filter(pk=hers.pk).update(deleted_at=one.deleted_at)
    Domain.objects.update(alias_quota=1)

    said = browser.post("/aliases/undo/", {"moment": one.deleted_at.isoformat()}, follow=True)

    assert "as many as it allows" in text_of(said)
    assert Alias.objects.owned_by(alice).present().count() == 1
    Domain.objects.update(alias_quota=None)
    browser.post("/aliases/undo/", {"moment": one.deleted_at.isoformat()})
    assert set(Alias.objects.present()) == {one, two}
    for moment in ("", "x", "2026-02-30", "2026-02-01T00:00:00", "9" * 80, one.created.isoformat()):
        assert browser.post("/aliases/undo/", {"moment": moment}).status_code == 302
    assert set(Alias.objects.present()) == {one, two}
