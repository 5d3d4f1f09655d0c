from typing import Any

from django.core.management.base import CommandError

from core.commands import DailyCommand
from core.sealing import CannotUnseal
from hooks.models import Hook


class Command(DailyCommand):
    help = "Seal the secrets of web hooks that are under an earlier secret key under the present one (daily)."

    def act(self, **options: Any) -> str:
        resealed, unreadable = 0, []
        for hook in Hook.objects.iterator():
            try:
                resealed += hook.reseal()
            except CannotUnseal:
                unreadable.append(str(hook.pk))
        if unreadable:
            raise CommandError(
                f"No known secret key reads the secrets of these web hooks: {', '.join(unreadable)}. "
                "Their owners can make new ones (docs/hooks.md)."
            )
        return f"Sealed the secrets of {resealed} web hooks under the present secret key."
