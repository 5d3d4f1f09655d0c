from typing import Any

from aliases.models import Alias
from core.commands import DailyCommand


class Command(DailyCommand):
    help = "Strip deleted aliases whose time for restoring is over. Run it once a day."

    def act(self, **options: Any) -> str:
        return f"Stripped {Alias.objects.purgeable().strip()} aliases; their addresses stay taken."
