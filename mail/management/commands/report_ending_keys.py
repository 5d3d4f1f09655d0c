from typing import Any

from django.core.management.base import CommandError

from core.commands import DailyCommand
from mail.encryption.keys import report_ending_keys


class Command(DailyCommand):
    help = "Mail the owners of destinations whose OpenPGP key expires soon or has expired. Run it once a day."

    def act(self, **options: Any) -> str:
        try:
            return f"Reported {report_ending_keys()} keys."
        except OSError as error:
            raise CommandError(f"The mail could not be sent: {type(error).__name__}.") from error
