from typing import Any

from contacts.new_senders import tell
from core.commands import DailyCommand


class Command(DailyCommand):
    help = "Mail the owners who want it about new senders to their aliases. Run it once a day."

    def act(self, **options: Any) -> str:
        return f"Told of {tell()} senders."
