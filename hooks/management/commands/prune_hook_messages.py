from typing import Any

from core.commands import DailyCommand
from hooks.sending import prune


class Command(DailyCommand):
    help = "Delete the messages to web hooks that are a week old. Run it once a day."

    def act(self, **options: Any) -> str:
        return f"Deleted {prune()} messages to web hooks."
