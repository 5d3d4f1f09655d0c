import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import CommandError, CommandParser

from accounts.commands import find_user
from core.audit import AuditEntry
from core.commands import RuleCommand
from transfer.formats.reading import FILE_MAX_BYTES, FORMATS, MAILU, decode, read
from transfer.making import Candidate, ImportRefused, Problem, check_rows, make_aliases, prepare
from transfer.rows import Document, ImportFileError, LeftOut
from transfer.server import import_mailu, preview_mailu

PROBLEMS_SHOWN = 50
ALIASES_SHOWN = 20


class Command(RuleCommand):
    help = (
        "Import aliases that were made elsewhere, after showing what will be made. All of it, or nothing. "
        "SimpleLogin's, addy's and our own CSV belong to --user; Mailu's config-export says whose each is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="at most 10 MB; - reads standard input, and needs --yes")
        parser.add_argument("--format", choices=FORMATS, required=True)
        parser.add_argument("--user", metavar="EMAIL", help="whose aliases; with mailu: this user's alone")
        parser.add_argument("--create-domains", action="store_true", help="mailu: domains that are not here")
        parser.add_argument(
            "--create-users", action="store_true", help="mailu: users who are not here, without a password"
        )
        parser.add_argument(
            "--leave-out-wrong", action="store_true", help="import the rest, and say what is left out and why"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def act(self, **options: Any) -> str:
        is_mailu = options["format"] == MAILU
        if not is_mailu and (options["create_domains"] or options["create_users"]):
            raise CommandError("--create-domains and --create-users are for --format mailu.")
        if not is_mailu and not options["user"]:
            raise CommandError("Say whose aliases they are: --user EMAIL.")
        if options["file"] == "-" and not options["yes"]:
            raise CommandError("Standard input is the file, so nothing can be asked: add --yes.")
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
            # JSON may be all one line.
            self.place = "entry" if document.is_json else "line"
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
        except ImportFileError as error:
            raise CommandError(f"Nothing was imported. {error}") from error
        return document

    def _csv(self, document: Document, options: dict[str, Any]) -> int:
        owner = find_user(options["user"])
        while True:
            prepared = prepare(document.rows, lambda row: owner)
            problems = prepared.problems + check_rows(prepared.candidates, by_admin=True)
            if not problems:
                break
            document = self._without(document, ImportRefused(problems).problems, options)
        self._tell_left_out(document.taken_out)
        if not prepared.candidates:
            raise CommandError("There are no aliases in the file.")
        self._show(prepared.candidates, options)
        return make_aliases(prepared, by_admin=True)

    def _mailu(self, document: Document, options: dict[str, Any]) -> int:
        chosen: dict[str, Any] = {
            "only": find_user(options["user"]) if options["user"] else None,
            "create_domains": options["create_domains"],
            "create_users": options["create_users"],
        }
        while True:
            seen = preview_mailu(document, **chosen)
            if not seen.problems:
                break
            if not options["leave_out_wrong"]:
                self._tell_left_out(seen.left_out)
            # Whose user is left out has wrong aliases only then.
            document = self._without(document, seen.problems, options)
        self._tell_left_out(seen.left_out)
        for domain in seen.domains:
            self._tell(f"New domain {domain.name}, Anonmail is {'on' if domain.anonmail_enabled else 'off'}.")
        for user in seen.users:
            self._tell(f"New user {user.email}{', deactivated' if user.email in seen.idle else ''}.")
        self._show(seen.prepared.candidates, options)
        return len(import_mailu(document, **chosen).prepared.candidates)

    def _show(self, candidates: Sequence[Candidate], options: dict[str, Any]) -> None:
        """What will be made, and the question. Raises CommandError where there is nothing, or a no."""
        shown = candidates if options["verbosity"] > 1 else candidates[:ALIASES_SHOWN]
        for row in shown:
            state = "deleted" if "deleted_at" in row.values else "" if row.values["enabled"] else "disabled"
            to = ", ".join(row.destinations) if row.destinations else "the primary address"
            self._tell(f"{row.address} of {row.owner.email} to {to}" + (f", {state}" if state else ""))
        if more := len(candidates) - len(shown):
            self._tell(f"… and {more} more (--verbosity 2 shows all).")
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
        """The document but for what is wrong. Raises CommandError where that is not wanted, or cannot be."""
        can_be = all(row.line for row in problems)
        if not options["leave_out_wrong"] or not can_be:
            self._refuse(problems, "Mend the file, or add --leave-out-wrong." if can_be else "")
        return document.without((row.section, row.line, row.reason) for row in problems)

    def _tell(self, sentence: str) -> None:
        self.stdout.write(sentence)

    def _tell_left_out(self, left_out: Sequence[LeftOut]) -> None:
        for left in left_out[:PROBLEMS_SHOWN]:
            self._tell(f"Left out, {self.place} {left.line}: {left.address}: {left.reason}")
        if (more := len(left_out) - PROBLEMS_SHOWN) > 0:
            self._tell(f"Left out: … and {more} more.")


def counted(number: int) -> str:
    """So many aliases, as a sentence says it."""
    return "1 alias" if number == 1 else f"{number} aliases"
