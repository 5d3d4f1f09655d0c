"""How much mail came, day by day, as bars for a page to draw."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDate
from django.utils import timezone

DAYS = 30
# In the SVG's own units: the page stretches them.
BAR_STEP = 10
HEIGHT = 60


@dataclass(frozen=True)
class Bar:
    """One day, in the reader's time zone; the heights are in units of HEIGHT."""

    day: date
    x: int
    forwarded: int
    blocked: int
    unit: float  # the height of one message

    @property
    def forwarded_height(self) -> int:
        return round(self.forwarded * self.unit)

    @property
    def forwarded_y(self) -> int:
        return HEIGHT - self.forwarded_height

    @property
    def blocked_height(self) -> int:
        return round(self.blocked * self.unit)

    @property
    def blocked_y(self) -> int:
        return self.forwarded_y - self.blocked_height


@dataclass(frozen=True)
class Chart:
    """The mail of the last DAYS days."""

    counts: Counter[tuple[date, str]]
    today: date
    days: int = DAYS
    width: int = DAYS * BAR_STEP
    height: int = HEIGHT

    @cached_property
    def bars(self) -> list[Bar]:
        """One for each day, the oldest first."""
        days = [self.today - timedelta(days=ago) for ago in reversed(range(DAYS))]
        pairs = [(self.counts[day, "forward"], self.counts[day, "block"]) for day in days]
        most = max(forwarded + blocked for forwarded, blocked in pairs) or 1
        return [
            Bar(day, number * BAR_STEP, forwarded, blocked, HEIGHT / most)
            for number, (day, (forwarded, blocked)) in enumerate(zip(days, pairs, strict=True))
        ]

    @property
    def forwarded(self) -> int:
        return sum(bar.forwarded for bar in self.bars)

    @property
    def blocked(self) -> int:
        return sum(bar.blocked for bar in self.bars)

    @property
    def total(self) -> int:
        return self.forwarded + self.blocked


def chart_of(activities: QuerySet[Any]) -> Chart:
    """The chart of these activities (`mail.Activity`, which this app cannot import), in one statement."""
    today = timezone.localdate()
    # One more day than is shown: a day on which clocks are put back has 25 hours.
    recent = activities.filter(moment__gte=timezone.now() - timedelta(days=DAYS + 1))
    rows = recent.order_by().annotate(day=TruncDate("moment")).values_list("day", "event")
    counts = Counter({(day, event): number for day, event, number in rows.annotate(number=Count("pk"))})
    return Chart(counts, today)
