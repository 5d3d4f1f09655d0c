"""addy.io's call for a chart of the last seven days."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypedDict

from django.db.models import Count
from django.db.models.functions import TruncDate
from django.utils import timezone
from rest_framework.request import Request

from api.addy.objects import SINCE
from api.addy.schema import AddyCall
from api.answers import Answer
from api.schema import EXAMPLES
from api.views import ApiView
from mail.models import Activity, Event
from tokens.scopes import Scope

DAYS = 7
# The language of addy.io's clients' labels is English, whatever the server's.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class ChartObject(TypedDict):
    forwardsData: list[int]
    repliesData: list[int]
    sendsData: list[int]
    labels: list[str]
    outboundMessageTotals: list[int]


def chart_object(counts: Counter[tuple[date, str]], today: date) -> ChartObject:
    """What was forwarded and replied on each of the last seven days, today last; totals in this order.

    Nothing is sent here that is not a reply: contacts are written to as replies are.
    """
    days = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    forwards = [counts[day, Event.FORWARD] for day in days]
    replies = [counts[day, Event.REPLY] for day in days]
    return {
        "forwardsData": forwards,
        "repliesData": replies,
        "sendsData": [0] * DAYS,
        "labels": [WEEKDAYS[day.weekday()] for day in days],
        "outboundMessageTotals": [sum(forwards), sum(replies), 0],
    }


def example_chart() -> ChartObject:
    today = SINCE.date()
    return chart_object(Counter({(today, Event.FORWARD.value): 3, (today, Event.REPLY.value): 1}), today)


EXAMPLES[ChartObject] = example_chart


class ChartData(ApiView):
    scope = Scope.ACTIVITY

    @AddyCall("How much mail was forwarded and replied on each of the last seven days (UTC)", ChartObject)
    def get(self, request: Request) -> Answer:
        today = timezone.now().astimezone(UTC).date()
        since = datetime.combine(today - timedelta(days=DAYS - 1), time(), UTC)
        recent: Any = Activity.objects.filter(
            alias__owner=self.caller, moment__gte=since, event__in=(Event.FORWARD, Event.REPLY)
        )
        rows = recent.order_by().annotate(day=TruncDate("moment", tzinfo=UTC)).values_list("day", "event")
        counts = Counter({(day, event): number for day, event, number in rows.annotate(number=Count("pk"))})
        return Answer(chart_object(counts, today))
