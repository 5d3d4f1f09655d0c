from typing import Any

from django.core.management.base import CommandError

from core.commands import RuleCommand
from mail.delivery.faults import tell_administrators


class Command(RuleCommand):
    help = "Mail the global admins what refuses this site's mail, if anything does. Run it once a day."

    def act(self, **options: Any) -> str:
        try:
            return f"Told of {tell_administrators()} mail faults."
        except OSError as error:
            raise CommandError(f"The mail could not be sent: {type(error).__name__}.") from error
