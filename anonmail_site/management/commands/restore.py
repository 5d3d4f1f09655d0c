import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from anonmail_site.backup import restoring
from anonmail_site.backup.archive import Backup, BackupError, read_backup
from anonmail_site.first_steps import refuse_root, trouble_as_root
from core.commands import DatabaseCommand
from core.disk import owner_of, why


class Command(DatabaseCommand):
    help = (
        "Check a file that `backup` has written, and restore everything from it. Stop Anonmail first, and "
        "run `prepare` afterwards."
    )
    # An empty machine has no secret key yet.
    requires_system_checks: list[str] = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", type=Path, metavar="FILE")
        parser.add_argument(
            "--replace", action="store_true", help="also if there is data already, which is then lost"
        )
        parser.add_argument(
            "--settings-file",
            action="store_true",
            help="also write the backup's settings file (.env), which must not exist yet; root writes nothing"
            " else where the installation is another user's",
        )
        parser.add_argument("--check", action="store_true", help="only check the file")

    def handle(self, *args: Any, **options: Any) -> None:
        os.umask(0o077)
        try:
            backup = read_backup(options["source"])
            if options["check"]:
                restoring.refuse_other(backup)
                self.stdout.write(f"{backup.path} is whole; it was made at {backup.manifest.made}.")
                return
            if options["settings_file"] and trouble_as_root():
                self._write_settings_for_owner(backup)
                return
            refuse_root()
            self._restore(backup, options)
        except BackupError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(why(error, settings.VAR_DIR)) from error
        self.stdout.write(f"Restored what was backed up at {backup.manifest.made}. Now run `prepare`.")

    def _write_settings_for_owner(self, backup: Backup) -> None:
        """As root, who owns the directory of .env, where another user owns VAR_DIR."""
        place, owner = owner_of(settings.VAR_DIR)
        restoring.write_settings(backup, readable_for=place.stat().st_gid)
        self.stdout.write(
            f"{settings.ENV_FILE} is the backup's. Look at it; then run this as {owner}, without"
            " --settings-file."
        )

    def _restore(self, backup: Backup, options: dict[str, Any]) -> None:
        if options["settings_file"] and restoring.write_settings(backup):
            start_again()
        Path(settings.VAR_DIR).mkdir(mode=0o700, parents=True, exist_ok=True)
        restoring.refuse_other(backup)
        if not options["replace"]:
            restoring.refuse_used_machine(backup)
        if restoring.settle_secret_key(backup):
            start_again()
        restoring.restore(backup)


def start_again() -> None:
    """Run this command anew: the settings were read without what has been written since."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - our own command line
