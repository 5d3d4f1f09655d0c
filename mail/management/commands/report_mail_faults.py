from typing import Any

from django.core.management.base import CommandError

from core.commands import DailyCommand
from mail.delivery.faults import report_faults


class Command(DailyCommand):
    help = "Mail the global admins if other servers refuse this site's mail, and why. Run it once a day."

    def act(self, **options: Any) -> str:
        try:
            return f"Reported {report_faults()} mail faults."
        except OSError as error:
            raise CommandError(f"The mail could not be sent: {type(error).__name__}.") from error
