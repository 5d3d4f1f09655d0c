from typing import Any

from aliases.ending import expire, warn
from core.commands import DailyCommand


class Command(DailyCommand):
    help = "Warn the owners of aliases that end soon; disable those whose end has come. Run it once a day."

    def act(self, **options: Any) -> str:
        expired = expire()
        return f"Disabled {expired} aliases; warned of {warn()}."
