import os
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser

from anonmail_site import first_steps
from core.commands import DatabaseCommand
from core.db.locks import claim_in_turn
from core.db.migrating import migrate
from core.disk import why

# How long another process's `prepare` may take, as its migrations may change large tables; and how long they
# wait for a dump.
PATIENCE = timedelta(minutes=30)


class Command(DatabaseCommand):
    help = (
        "Set everything up: the private directory var/, a secret key, the tables and the static files; and, "
        "if the database is empty, a first admin, the domain example.com and a token. Safe to repeat."
    )
    # Nothing can be checked without a secret key.
    requires_system_checks: list[str] = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--no-first-account",
            action="store_true",
            help="leave an empty database empty, to create your own first admin or to run import_config",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        first_steps.refuse_root()
        try:
            self._prepare(*args, **options)
        except TimeoutError as error:
            raise CommandError("Another process prepares this installation, and does not end.") from error
        except OSError as error:
            raise CommandError(why(error, settings.VAR_DIR)) from error

    def _prepare(self, *args: Any, **options: Any) -> None:
        # Everything created here, such as the database, is private to this user.
        os.umask(0o077)
        settings.VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        # It contains mailed links. An earlier version could leave them readable for everyone.
        first_steps.make_private(settings.OUTBOX)
        if not has_secret_key():
            with suppress(FileExistsError):  # Another process was quicker.
                first_steps.make_secret_key(settings.SECRET_KEY_PATH)
            # The settings were read without the key, so start again.
            os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - our own command line
        self.check()
        # Containers and hosts may start at the same moment.
        with claim_in_turn("prepare", PATIENCE):
            migrate(PATIENCE)
            self._make_database_private()
            self._collect_static_files()
            account = None if options["no_first_account"] else first_steps.make_first_account()
        if account:
            self.stdout.write(str(account))

    def _collect_static_files(self) -> None:
        started = time.time()
        try:
            call_command("collectstatic", interactive=False, verbosity=0)
        except OSError:
            # The next try would take half a file for a whole one, because it is newer than its source.
            for path in Path(settings.STATIC_ROOT).rglob("*"):
                if path.is_file() and path.stat().st_mtime > started - 1:
                    path.unlink()
            raise

    def _make_database_private(self) -> None:
        database = settings.DATABASES["default"]
        if database["ENGINE"] == "core.db.sqlite" and Path(database["NAME"]).is_file():
            os.chmod(database["NAME"], 0o600)


def has_secret_key() -> bool:
    """Whether there is a secret key. Django raises an exception for an empty one."""
    try:
        return bool(settings.SECRET_KEY)
    except ImproperlyConfigured:
        return False
