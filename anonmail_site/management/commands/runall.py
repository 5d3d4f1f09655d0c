from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Set everything up (see `prepare`) and serve it in this terminal (see `serve`). Ctrl-C stops it."
    # `prepare` runs the checks once there is a secret key.
    requires_system_checks: list[str] = []  # noqa: RUF012

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("serve", prepare=True, stdout=self.stdout, stderr=self.stderr)
