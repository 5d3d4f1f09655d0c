import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from core.audit import AuditEntry
from core.commands import DatabaseCommand
from transfer.installation import ConfigError, import_config

PROBLEMS_SHOWN = 50


class Command(DatabaseCommand):
    help = "Read what export_config wrote. All of it is created, or nothing; nothing existing is changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the JSON file; - reads standard input")

    def handle(self, *args: Any, **options: Any) -> str:
        try:
            text = sys.stdin.read() if options["file"] == "-" else Path(options["file"]).read_text("utf-8")
            counts = import_config(json.loads(text))
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise CommandError(f"{options['file']} is no JSON.") from error
        except ConfigError as error:
            shown = error.problems[:PROBLEMS_SHOWN]
            if more := len(error.problems) - len(shown):
                shown.append(f"… and {more} more.")
            raise CommandError("Nothing was imported:\n  " + "\n  ".join(shown)) from error
        AuditEntry.objects.record(None, "command.import_config", detail=str(counts))
        return "Imported " + ", ".join(f"{count} {kind}" for kind, count in counts.items()) + "."
