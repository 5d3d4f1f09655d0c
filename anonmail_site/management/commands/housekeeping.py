import time
from contextlib import suppress
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import Error, connections

from anonmail_site.tallies import HOUSEKEEPING_DONE
from core.commands import DatabaseCommand
from core.supervised import end_with_supervisor

# The daily tasks, in this order.
CHORES = (
    "expire_aliases",
    "report_new_senders",
    "purge_deleted_aliases",
    "forget_imports",
    "tidy_address_changes",
    "report_mail_faults",
    "reseal_dkim_keys",
    "check_dns",
    "prune_activity",
    "prune_counters",
    "prune_audit",
    "prune_sessions",
)
DAY = 24 * 60 * 60


class Command(DatabaseCommand):
    help = "Run the daily tasks: expire aliases and delete old data."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--forever", action="store_true", help="repeat once a day (used by runall)")

    def handle(self, *args: Any, **options: Any) -> None:
        end_with_supervisor()
        while True:
            failed = []
            for chore in CHORES:
                try:
                    # runall does not print this every day.
                    said = StringIO() if options["forever"] else self.stdout
                    call_command(chore, stdout=said, stderr=self.stderr)
                except (CommandError, Error) as error:
                    # One task's failure, such as a database that is down, must not hold up the others.
                    reason = str(error) if isinstance(error, CommandError) else type(error).__name__
                    self.stderr.write(f"{chore} failed: {reason}")
                    failed.append(chore)
            if not failed:
                with suppress(Error):
                    HOUSEKEEPING_DONE.is_now()
            if not options["forever"]:
                if failed:
                    raise CommandError(f"Not done: {', '.join(failed)}.")
                return
            connections.close_all()
            time.sleep(DAY)
