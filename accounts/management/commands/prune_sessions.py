from typing import Any

from django.core.management import call_command

from accounts.sessions import prune_sessions
from core.commands import DailyCommand


class Command(DailyCommand):
    help = "Delete sessions that have ended, and the records of their sign-ins. Run it once a day."

    def act(self, **options: Any) -> str:
        call_command("clearsessions")
        return f"Deleted {prune_sessions()} notes of sessions."
