from typing import Any

from django.core.cache import caches

from core.cache import SharedCache
from core.commands import DailyCommand
from core.heartbeats import Heartbeat
from core.ratelimit import Counter


class Command(DailyCommand):
    help = "Delete rate-limit counters whose period is over, and signs of life that are a day old (daily)."

    def act(self, **options: Any) -> str:
        deleted, _rows = Counter.objects.expired().delete()
        # The limits of the sign-in pages.
        if isinstance(limits := caches["default"], SharedCache):
            deleted += limits.prune()
        Heartbeat.objects.old().delete()
        return f"Deleted {deleted} counters."
