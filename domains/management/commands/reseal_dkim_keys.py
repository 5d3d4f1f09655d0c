from typing import Any

from django.core.management.base import CommandError

from core.commands import DailyCommand
from core.sealing import CannotUnseal
from domains.models import DkimKey


class Command(DailyCommand):
    help = "Seal the DKIM keys that are under an earlier secret key under the present one (daily)."

    def act(self, **options: Any) -> str:
        resealed, unreadable = 0, []
        for key in DkimKey.objects.select_related("domain"):
            try:
                resealed += key.reseal()
            except CannotUnseal:
                unreadable.append(str(key))
        if unreadable:
            raise CommandError(
                f"No known secret key reads these DKIM keys: {', '.join(unreadable)}. See docs/dns.md."
            )
        return f"Sealed {resealed} DKIM keys under the present secret key."
