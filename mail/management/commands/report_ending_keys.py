from typing import Any

from core.commands import DailyCommand
from mail.encryption.keys import report_ending_keys


class Command(DailyCommand):
    help = "Mail the owners of OpenPGP keys that expire soon or can no longer be used. Run it once a day."

    def act(self, **options: Any) -> str:
        return f"Reported {report_ending_keys()} keys."
