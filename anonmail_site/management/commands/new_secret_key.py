from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from anonmail_site.first_steps import refuse_root, replace_secret_key


class Command(BaseCommand):
    help = "Replace the secret key in var/secret_key. The present one stays in the file as an earlier one."
    # Without a key, they fail.
    requires_system_checks: list[str] = []  # noqa: RUF012

    def handle(self, *args: Any, **options: Any) -> str:
        if not settings.SECRET_KEY_IS_IN_FILE:
            raise CommandError(
                "SECRET_KEY is set in the environment or in .env. Put it into SECRET_KEY_FALLBACKS "
                "and set another one."
            )
        refuse_root()
        try:
            replace_secret_key(settings.SECRET_KEY_PATH)
        except OSError as error:
            raise CommandError(f"{settings.SECRET_KEY_PATH} is not replaced: {error.strerror}.") from error
        return (
            f"There is a new secret key in {settings.SECRET_KEY_PATH}. Restart everything; after 14 days, "
            "delete the earlier keys in the lines below it."
        )
