"""addy.io's call for a chart: the last seven days, by their English names, in UTC."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import translation

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.models import Activity
from tests.conftest import Api

pytestmark = pytest.mark.django_db

CHART = "/api/v1/chart-data"
# A Friday.
NOW = datetime(2026, 11, 27, 0, 30, tzinfo=UTC)
LABELS = ["Saturday", "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
NOTHING = [0] * 7


def came(alias: Alias, event: str, ago: timedelta, number: int = 1) -> None:
    for _ in range(number):
        Activity.objects.create(alias=alias, event=event, moment=NOW - ago)


def test_each_day_has_what_was_forwarded_and_replied(alice: User, root: User, api: Api) -> None:
    mine, gone, theirs = issue(owner=alice), issue(owner=alice), issue(owner=root, domain="example.com")
    came(mine, "forward", timedelta(), 2)
    came(mine, "reply", timedelta(minutes=31))  # yesterday
    came(gone, "forward", timedelta(days=6, minutes=30))  # the first moment of the first day
    gone.soft_delete()
    came(mine, "forward", timedelta(days=6, minutes=31))  # the day before
    came(mine, "block", timedelta(), 3)
    came(mine, "bounce", timedelta(), 3)
    came(theirs, "forward", timedelta(), 5)

    with time_machine.travel(NOW, tick=False):
        told = api(alice).get(CHART).json()

    assert told == {
        "forwardsData": [1, 0, 0, 0, 0, 0, 2],
        "repliesData": [0, 0, 0, 0, 0, 1, 0],
        "sendsData": NOTHING,
        "labels": LABELS,
        "outboundMessageTotals": [3, 1, 0],
    }


def test_without_mail_it_is_nothing_and_the_days_are_english_for_everybody(alice: User, api: Api) -> None:
    with time_machine.travel(NOW, tick=False), translation.override("de"):
        told = api(alice).get(CHART, HTTP_ACCEPT_LANGUAGE="de").json()

    assert told["labels"] == LABELS
    assert told["forwardsData"] == told["repliesData"] == NOTHING
    assert told["outboundMessageTotals"] == [0, 0, 0]
