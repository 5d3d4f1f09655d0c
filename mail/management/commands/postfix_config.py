from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mail.postfix.checking import missing
from mail.postfix.existing import existing
from mail.postfix.files import write
from mail.postfix.fresh import fresh
from mail.postfix.parameters import DEFAULT_REINJECTION, NotPossible
from mail.postfix.running import PostfixMissing, Running


class Command(BaseCommand):
    help = "Write main.cf, master.cf and a README for a Postfix in front, or check a running Postfix."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "variant",
            choices=["fresh", "existing"],
            help="fresh: a Postfix for Anonmail alone; existing: one that has mailboxes already",
        )
        parser.add_argument("--directory", help="where to write (default: postfix/ in VAR_DIR)")
        parser.add_argument(
            "--postfix", help="the running Postfix's configuration directory (default: postconf's own)"
        )
        parser.add_argument(
            "--reinjection",
            default=DEFAULT_REINJECTION,
            help=f"where Postfix takes back forwarded mail (default: {DEFAULT_REINJECTION})",
        )
        parser.add_argument(
            "--milter",
            action="store_true",
            help="with fresh: Anonmail as a milter, so that Postfix queues most mail only once",
        )
        parser.add_argument(
            "--check", action="store_true", help="compare with the running Postfix, write nothing"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        directory = Path(options["directory"] or settings.VAR_DIR / "postfix").resolve()
        variant, place = options["variant"], Path(options["postfix"]) if options["postfix"] else None
        try:
            if variant == "fresh":
                configuration = fresh(
                    options["reinjection"],
                    with_milter=options["milter"],
                )
            elif options["milter"]:
                raise CommandError("--milter is for fresh only: elsewhere it would see everybody's mail.")
            else:
                configuration = existing(Running(place), str(directory), options["reinjection"])
            if options["check"]:
                self._say(missing(configuration, Running(place)))
                return
            variant += " --milter" if options["milter"] else ""
            paths = write(configuration, variant, directory)
        except (NotPossible, PostfixMissing) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{directory} cannot be written: {error.strerror}") from error
        for path in paths:
            self.stdout.write(str(path))
        for problem in configuration.problems:
            self.stderr.write(f"- {problem}")
        self.stdout.write(f"{directory / 'README'} says what to do with these files.")

    def _say(self, found: list[str]) -> None:
        for sentence in found:
            self.stdout.write(f"- {sentence}")
        if found:
            raise CommandError(
                "1 thing is missing." if len(found) == 1 else f"{len(found)} things are missing."
            )
        self.stdout.write("Postfix and Anonmail agree: nothing is missing.")
