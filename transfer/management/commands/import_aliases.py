import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import CommandError, CommandParser

from accounts.commands import find_user
from core.audit import AuditEntry
from core.commands import RuleCommand
from transfer.checking import Candidate, Check, clean
from transfer.formats import MAILU, READERS, read
from transfer.formats.text import FILE_MAX_BYTES, decode
from transfer.making import ImportRefused, make
from transfer.rows import Document, ImportFileError, LeftOut, Problem
from transfer.server import make_server, of_user, preview_server

PROBLEMS_SHOWN = 50
ALIASES_SHOWN = 20


class Command(RuleCommand):
    help = (
        "Import aliases that were made elsewhere, after showing what will be made. All of it, or nothing. "
        "The aliases in SimpleLogin's, addy's and our own CSV become --user's; Mailu's config-export names "
        "their owners."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="at most 10 MB; - reads standard input, and needs --yes")
        parser.add_argument("--format", choices=list(READERS), required=True)
        parser.add_argument("--user", metavar="EMAIL", help="whose aliases; with mailu: this user's alone")
        parser.add_argument("--create-domains", action="store_true", help="mailu: domains that are not here")
        parser.add_argument(
            "--create-users", action="store_true", help="mailu: users who are not here, without a password"
        )
        parser.add_argument(
            "--leave-out-wrong",
            action="store_true",
            help="import the rest, and list what is left out and why",
        )
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def act(self, **options: Any) -> str:
        is_mailu = options["format"] == MAILU
        if not is_mailu and (options["create_domains"] or options["create_users"]):
            raise CommandError("--create-domains and --create-users are for --format mailu.")
        if not is_mailu and not options["user"]:
            raise CommandError("Say whose aliases they are: --user EMAIL.")
        if options["file"] == "-" and not options["yes"]:
            raise CommandError("The file is standard input, so there is no way to ask: add --yes.")
        document = self._document(options["file"], options["format"])
        try:
            made = self._mailu(document, options) if is_mailu else self._csv(document, options)
        except ImportRefused as refusal:
            self._refuse(refusal.problems)
        detail = f"format={options['format']}, user={options['user']}, aliases={made}"
        AuditEntry.objects.record(None, "command.import_aliases", detail=detail)
        return f"Imported {counted(made)}."

    def _document(self, file: str, format: str) -> Document:
        try:
            if file == "-":
                data = sys.stdin.buffer.read(FILE_MAX_BYTES + 1)
            else:
                with Path(file).open("rb") as opened:
                    data = opened.read(FILE_MAX_BYTES + 1)
            document = read(decode(data), format)
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
        except ImportFileError as error:
            raise CommandError(f"Nothing was imported. {error}") from error
        # JSON may be a single line.
        self.place = "entry" if document.is_json else "line"
        return document

    def _csv(self, document: Document, options: dict[str, Any]) -> int:
        owner = find_user(options["user"])
        document = replace(document, rows=clean(document.rows))
        while True:
            check = Check(document.rows, lambda row: owner, by_admin=True)
            if not (problems := check.problems()):
                break
            document = self._without(document, problems, options)
        self._list_left_out(document.left_out)
        if not document.rows:
            raise CommandError("There are no aliases in the file.")
        self._show(check.candidates, options)
        return make(document.rows, lambda row: owner, by_admin=True)

    def _mailu(self, document: Document, options: dict[str, Any]) -> int:
        if options["user"]:
            document = of_user(document, find_user(options["user"]))
        document = replace(document, rows=clean(document.rows))
        choices = {
            "create_domains": options["create_domains"],
            "create_users": options["create_users"] and not options["user"],
        }
        while (preview := preview_server(document, **choices)).problems:
            if not options["leave_out_wrong"]:
                self._list_left_out(document.left_out)
            # The aliases of a user who is left out are wrong only then.
            document = self._without(document, preview.problems, options)
        self._list_left_out(document.left_out)
        for domain in preview.domains:
            self.stdout.write(
                f"New domain {domain.name}, Anonmail is {'on' if domain.anonmail_enabled else 'off'}."
            )
        for user in preview.users:
            deactivated = ", deactivated" if user.email in preview.deactivated else ""
            self.stdout.write(f"New user {user.email}{deactivated}.")
        self._show(preview.aliases, options)
        return make_server(document, **choices).aliases

    def _show(self, candidates: Sequence[Candidate], options: dict[str, Any]) -> None:
        """Print what will be made, and ask. Raises CommandError unless the answer is yes."""
        shown = candidates if options["verbosity"] > 1 else candidates[:ALIASES_SHOWN]
        for candidate in shown:
            row = candidate.row
            state = ", deleted" if row.deleted else "" if row.enabled else ", disabled"
            to = ", ".join(row.destinations) or "the primary address"
            self.stdout.write(f"{row.address} of {candidate.owner.email} to {to}{state}")
        if more := len(candidates) - len(shown):
            self.stdout.write(f"… and {more} more (--verbosity 2 shows all).")
        if options["yes"]:
            return
        try:
            answer = input(f"Make {counted(len(candidates))}? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in {"y", "yes"}:
            raise CommandError("Nothing was imported.")

    def _refuse(self, problems: Sequence[Problem], way_out: str = "") -> NoReturn:
        lines = [
            f"{self.place} {row.line}: {row.address}: {row.reason}" if row.line else row.reason
            for row in problems[:PROBLEMS_SHOWN]
        ]
        if more := len(problems) - len(lines):
            lines.append(f"… and {more} more.")
        way_out = way_out and f"\n{way_out}"
        raise CommandError("Nothing was imported:\n  " + "\n  ".join(lines) + way_out)

    def _without(self, document: Document, problems: Sequence[Problem], options: dict[str, Any]) -> Document:
        """The document without what is wrong. Raises CommandError if that is not wanted, or not possible."""
        is_possible = all(row.line for row in problems)
        if not options["leave_out_wrong"] or not is_possible:
            self._refuse(problems, "Correct the file, or add --leave-out-wrong." if is_possible else "")
        return document.without(problems)

    def _list_left_out(self, left_out: Sequence[LeftOut]) -> None:
        for left in left_out[:PROBLEMS_SHOWN]:
            self.stdout.write(f"Left out, {self.place} {left.line}: {left.address}: {left.reason}")
        if (more := len(left_out) - PROBLEMS_SHOWN) > 0:
            self.stdout.write(f"Left out: … and {more} more.")


def counted(number: int) -> str:
    """The number of aliases, for a sentence."""
    return "1 alias" if number == 1 else f"{number} aliases"
