from contextlib import suppress
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import Error

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
    "report_ending_keys",
    "reseal_dkim_keys",
    "reseal_hook_secrets",
    "report_stopped_hooks",
    "check_dns",
    "prune_activity",
    "prune_hook_messages",
    "prune_counters",
    "prune_audit",
    "prune_sessions",
)


class Command(DatabaseCommand):
    help = "Run the daily tasks: expire aliases and delete old data."

    def handle(self, *args: Any, **options: Any) -> None:
        end_with_supervisor()
        failed = []
        for chore in CHORES:
            try:
                said = self.stdout if options["verbosity"] else StringIO()
                call_command(chore, stdout=said, stderr=self.stderr)
            except (CommandError, Error) as error:
                # One task's failure, such as a database that is down, must not hold up the others.
                reason = str(error) if isinstance(error, CommandError) else type(error).__name__
                self.stderr.write(f"{chore} failed: {reason}")
                failed.append(chore)
        if failed:
            raise CommandError(f"Not done: {', '.join(failed)}.")
        with suppress(Error):
            HOUSEKEEPING_DONE.is_now()
