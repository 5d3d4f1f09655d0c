from typing import Any

from django.core.cache import caches

from core.cache import SharedCache
from core.commands import RuleCommand
from core.ratelimit import Counter


class Command(RuleCommand):
    help = "Delete rate-limit counters whose period is over. Run it once a day."

    def act(self, **options: Any) -> str:
        deleted, _rows = Counter.objects.expired().delete()
        # The limits of the sign-in pages.
        if isinstance(limits := caches["default"], SharedCache):
            deleted += limits.prune()
        return f"Deleted {deleted} counters."
