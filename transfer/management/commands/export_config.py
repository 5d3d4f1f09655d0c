import json
import os
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from core.commands import DatabaseCommand
from transfer.installation.exporting import export_config


class Command(DatabaseCommand):
    help = (
        "Write domains, users, grants, aliases and tokens as JSON. The file contains password hashes and "
        "second factors: protect it as you protect the database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--output", metavar="FILE", help="a new file, readable only by you; default: stdout"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        document = export_config()
        if not options["output"]:
            json.dump(document, sys.stdout, ensure_ascii=False, indent=1)
            sys.stdout.write("\n")
            return
        try:
            descriptor = os.open(options["output"], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be created: {error.strerror}.") from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, ensure_ascii=False, indent=1)
            file.write("\n")
        self.stderr.write(f"Wrote {len(document['aliases'])} aliases of {len(document['users'])} users.")
