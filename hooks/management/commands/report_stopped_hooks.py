from typing import Any

from core.commands import DailyCommand
from hooks.notices import tell_of_stopped


class Command(DailyCommand):
    help = "Mail the owners of web hooks that were stopped. The worker runs it when it stops one, and daily."

    def act(self, **options: Any) -> str:
        return f"Told of {tell_of_stopped()} stopped web hooks."
