import os
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from anonmail_site.backup.archive import BackupError
from anonmail_site.backup.making import make_backup
from anonmail_site.tallies import BACKUP_DONE
from core.commands import DatabaseCommand


class Command(DatabaseCommand):
    help = (
        "Write the database, the secret key, the settings file and forwarded mail in var/mail to a new file, "
        "while everything goes on. The file contains all secrets: protect it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("target", type=Path, metavar="FILE", help="a new file, or a directory for one")

    def handle(self, *args: Any, **options: Any) -> None:
        os.umask(0o077)
        try:
            backup = make_backup(options["target"])
        except BackupError as error:
            raise CommandError(str(error)) from error
        BACKUP_DONE.is_now()
        octets, rows = backup.path.stat().st_size, sum(backup.manifest.rows.values())
        self.stdout.write(f"Wrote {backup.path}: {rows} rows, {len(backup.files)} files, {octets} octets.")
