from typing import Any

from core.commands import RuleCommand
from core.models import Counter


class Command(RuleCommand):
    help = "Delete rate-limit counters whose period is over. Run it once a day."

    def act(self, **options: Any) -> str:
        deleted, _rows = Counter.objects.expired().delete()
        return f"Deleted {deleted} counters."
