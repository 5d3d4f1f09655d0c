"""Base classes of the commands: a refusal is one clear sentence on stderr, never a traceback."""

from abc import abstractmethod
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from core.audit import AuditEntry
from core.db.availability import UNAVAILABLE, is_unavailable
from core.db.locks import claim
from core.exceptions import RuleError


class DatabaseCommand(BaseCommand):
    """A command that fails with one sentence if the database is unavailable (`--traceback` shows all)."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except UNAVAILABLE as error:
            if not is_unavailable(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise CommandError(f"The database cannot be used: {reason}.") from error


class RuleCommand(DatabaseCommand):
    """A command whose `act` may raise RuleError and ValidationError: they become CommandErrors.

    `audited`: the options to write to the audit, if the command changes other people's data.
    """

    audited: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def act(self, **options: Any) -> str:
        """Do it, and return the sentence to print."""

    def handle(self, *args: Any, **options: Any) -> str:
        try:
            sentence = self.act(**options)
        except RuleError as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if self.audited:
            detail = ", ".join(f"{name}={options[name]}" for name in self.audited)
            AuditEntry.objects.record(
                None, f"command.{type(self).__module__.rpartition('.')[2]}", detail=detail
            )
        return sentence


class DailyCommand(RuleCommand):
    """A daily task: one process at a time does it, on whatever host, so that nobody gets a mail twice."""

    def handle(self, *args: Any, **options: Any) -> str:
        with claim(type(self).__module__.rpartition(".")[2]) as is_ours:
            if not is_ours:
                return "Another process is doing this."
            return super().handle(*args, **options)
