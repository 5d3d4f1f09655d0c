import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from core.audit import AuditEntry
from core.commands import DatabaseCommand
from transfer.installation.document import ConfigError
from transfer.installation.importing import import_config

PROBLEMS_SHOWN = 50
# About a million aliases. Parsed, a document takes several times its size of memory.
FILE_MAX_BYTES = 512 * 2**20


class Command(DatabaseCommand):
    help = (
        "Create what export_config wrote: all of it, or nothing. Nothing is merged: what exists already is "
        "an error."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the JSON file, at most 512 MB; - reads standard input")

    def handle(self, *args: Any, **options: Any) -> str:
        try:
            counts = import_config(json.loads(_read(options["file"])))
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise CommandError(f"{options['file']} is not valid JSON.") from error
        except ConfigError as error:
            shown = error.problems[:PROBLEMS_SHOWN]
            if more := len(error.problems) - len(shown):
                shown.append(f"… and {more} more.")
            raise CommandError("Nothing was imported:\n  " + "\n  ".join(shown)) from error
        AuditEntry.objects.record(None, "command.import_config", detail=str(counts))
        return "Imported " + ", ".join(f"{count} {kind}" for kind, count in counts.items()) + "."


def _read(name: str) -> bytes:
    """The file's content, or standard input's. Raises CommandError if it is too large, OSError."""
    with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
        # The size first: a file that is too large is not read at all.
        is_large = name != "-" and os.fstat(file.fileno()).st_size > FILE_MAX_BYTES
        content = b"" if is_large else file.read(FILE_MAX_BYTES + 1)
    if is_large or len(content) > FILE_MAX_BYTES:
        raise CommandError(
            f"{name} is larger than {FILE_MAX_BYTES // 2**20} MB. To move so much data, copy the database."
        )
    return content
