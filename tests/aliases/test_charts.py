"""The bars of the last 30 days."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aliases.charts import DAYS, HEIGHT, chart_of
from aliases.issuing import issue
from aliases.models import Alias
from mail.models import Activity, Event
from tests.rig.pages import text_of

NOON = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOON)


def came(alias: Alias, ago: timedelta, event: Event = Event.FORWARD, number: int = 1) -> None:
    Activity.objects.bulk_create(Activity(alias=alias, moment=NOON - ago, event=event) for _ in range(number))


def test_each_of_30_days_has_a_bar_in_one_statement(
    alias: Alias, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    came(alias, timedelta(hours=1), number=3)
    came(alias, timedelta(hours=2), Event.BLOCK)
    came(alias, timedelta(hours=3), Event.BOUNCE)
    came(alias, timedelta(days=29), number=2)
    came(alias, timedelta(days=30, hours=1), number=50)

    with django_assert_num_queries(1):
        chart = chart_of(alias.activities.all())

    assert [bar.day for bar in chart.bars] == [date(2026, 3, 2) + timedelta(days=day) for day in range(DAYS)]
    first, *between, last = chart.bars
    assert (first.forwarded, first.blocked, last.forwarded, last.blocked) == (2, 0, 3, 1)
    assert not any(bar.forwarded or bar.blocked for bar in between)
    assert (chart.forwarded, chart.blocked, chart.total) == (5, 1, 6)
    # The highest bar is as high as the chart, the parts stand on each other, and nothing is outside.
    assert last.forwarded_height + last.blocked_height == HEIGHT
    assert last.blocked_y == 0
    assert last.forwarded_y == last.blocked_height
    assert (last.x, first.x) == (290, 0)


def test_days_are_the_readers(alias: Alias) -> None:
    came(alias, timedelta(hours=12, minutes=30))  # 23:30 UTC the day before

    with timezone.override("Europe/Vienna"):
        assert chart_of(alias.activities.all()).bars[-1].forwarded == 1
    assert chart_of(alias.activities.all()).bars[-2].forwarded == 1


def test_the_alias_page_draws_it_with_words_and_a_table(browser: Client, alias: Alias) -> None:
    assert "<svg" not in browser.get(f"/aliases/{alias.pk}/").content.decode()
    came(alias, timedelta(hours=1), number=4)
    came(alias, timedelta(days=2), Event.BLOCK)

    answer = browser.get(f"/aliases/{alias.pk}/")
    text = answer.content.decode()

    assert text.count("<rect") == 2
    assert "In the last 30 days: 4 forwarded , 1 blocked ." in text_of(answer)
    assert '<td>March 29, 2026</td><td class="number">0</td><td class="number">1</td>' in text


def test_the_oldest_day_is_whole_though_a_clock_was_put_back(
    alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: datetime(2026, 11, 1, 22, 40, tzinfo=UTC))
    # In Vienna it is 23:40, and was 00:10 on October 3rd.
    moment = datetime(2026, 10, 2, 22, 10, tzinfo=UTC)
    Activity.objects.create(alias=alias, moment=moment, event=Event.FORWARD)

    with timezone.override("Europe/Vienna"):
        first = chart_of(alias.activities.all()).bars[0]

    assert (first.day, first.forwarded) == (date(2026, 10, 3), 1)
