import shlex
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mail.postfix.checking import missing
from mail.postfix.containers import SERVERS, Server, missing_in_files
from mail.postfix.existing import existing, usual_reinjection
from mail.postfix.files import ETC, write, write_files
from mail.postfix.fresh import fresh
from mail.postfix.parameters import (
    DEFAULT_REINJECTION,
    Configuration,
    NotPossible,
    Reinjection,
    reinjection_from,
)
from mail.postfix.running import PostfixMissing, Running


class Command(BaseCommand):
    help = "Write main.cf, master.cf and a README for a Postfix in front, or check a running Postfix."
    # Root runs this, as Postfix's configuration is root's: the check of the user does not apply.
    requires_system_checks = ("anonmail",)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "variant",
            nargs="?",
            choices=["fresh", "existing"],
            help="fresh: a Postfix for Anonmail alone; existing: one that has mailboxes already",
        )
        parser.add_argument(
            "--for",
            dest="server",
            choices=SERVERS,
            help="instead of a variant: the files that this mail server in containers takes its changes from",
        )
        parser.add_argument(
            "--directory",
            help="where to write (default: postfix/ in VAR_DIR; for existing, anonmail/ in Postfix's"
            " configuration directory); with --for, the directory of the server's compose file",
        )
        parser.add_argument(
            "--postfix",
            help="the running Postfix's configuration directory (default: postconf's own); with --for, where"
            " a copy of the container's main.cf is",
        )
        parser.add_argument(
            "--reinjection",
            help=f"where Postfix takes back forwarded mail (default: {DEFAULT_REINJECTION})",
        )
        parser.add_argument(
            "--reached-at",
            help="where Anonmail finds that, if not at the same address, as HOST:PORT",
        )
        parser.add_argument(
            "--clients",
            help="the networks that may bring mail there (default: this machine; elsewhere, Postfix's"
            " mynetworks)",
        )
        parser.add_argument(
            "--milter",
            action="store_true",
            help="with fresh: Anonmail as a milter, so that Postfix queues most mail only once",
        )
        parser.add_argument(
            "--check", action="store_true", help="compare with what is there now, write nothing"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        variant, server = options["variant"], options["server"]
        for name in ("directory", "postfix"):
            options[name] = Path(options[name]).resolve() if options[name] else None
        if (variant is None) == (server is None):
            raise CommandError("Name fresh or existing, or a server with --for.")
        if options["milter"] and variant != "fresh":
            raise CommandError("--milter is for fresh only: elsewhere it would see everybody's mail.")
        try:
            if server:
                self._for_server(SERVERS[server], options)
            else:
                self._for_postfix(variant, options)
        except (NotPossible, PostfixMissing) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be read or written: {error.strerror}") from error

    def _for_postfix(self, variant: str, options: dict[str, Any]) -> None:
        directory, etc = options["directory"], options["postfix"]
        if variant == "fresh":
            directory = directory or settings.VAR_DIR / "postfix"
            configuration = fresh(_reinjection(options, Reinjection()), with_milter=options["milter"])
        else:
            # Postfix reads tables there, which must not be Anonmail's own: whoever breaks into it could
            # divert everybody's mail.
            directory = directory or (etc or ETC) / "anonmail"
            running = Running(etc)
            reinjection = _reinjection(options, usual_reinjection(running))
            configuration = existing(running, str(directory), reinjection)
        if options["check"]:
            self._say(missing(configuration, Running(etc)))
            return
        self._wrote(write(configuration, _arguments(variant, options), directory, etc), configuration)
        self.stdout.write(f"{directory / 'README'} says what to do with these files.")

    def _for_server(self, server: Server, options: dict[str, Any]) -> None:
        directory = options["directory"] or Path(server.usual_directory)
        there = server.parameters(directory, options["postfix"])
        reinjection = _reinjection(options, server.reinjection(directory))
        configuration = server.configuration(there, directory, reinjection)
        files = server.files(configuration, there, directory, _arguments(f"--for {server.name}", options))
        if options["check"]:
            self._say(missing_in_files(configuration, there, files))
            return
        self._wrote(write_files(files), configuration)
        self.stdout.write(f"{server.tables(directory) / 'README'} says what comes next, and how to undo it.")

    def _wrote(self, paths: list[Path], configuration: Configuration) -> None:
        for path in paths:
            self.stdout.write(str(path))
        for problem in configuration.problems:
            self.stderr.write(f"- {problem}")

    def _say(self, found: list[str]) -> None:
        for sentence in found:
            # It may quote a main.cf in another encoding.
            self.stdout.write(f"- {sentence.encode(errors='backslashreplace').decode()}")
        if found:
            raise CommandError(
                "1 thing is missing." if len(found) == 1 else f"{len(found)} things are missing."
            )
        self.stdout.write("Postfix and Anonmail agree: nothing is missing.")


def _reinjection(options: dict[str, Any], usual: Reinjection) -> Reinjection:
    """Where the options say, or else where it usually is. Raises NotPossible."""
    listen, reached_at, clients = (options[name] or "" for name in ("reinjection", "reached_at", "clients"))
    return reinjection_from(listen, reached_at, clients, usual)


def _arguments(variant: str, options: dict[str, Any]) -> str:
    """What to write on the command line for the same again."""
    names = ("directory", "postfix", "reinjection", "reached_at", "clients")
    given = [(f"--{name.replace('_', '-')}", str(options[name])) for name in names if options[name]]
    milter = " --milter" if options["milter"] else ""
    return variant + milter + "".join(f" {name} {shlex.quote(value)}" for name, value in given)
