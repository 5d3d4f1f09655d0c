"""The command line: `manage.py` in a checkout, `anonmail` where the wheel is installed."""

import os
import sys

from django.core.management import execute_from_command_line

from anonmail_site import __version__


def main() -> None:
    """Run the command that was typed, with Anonmail's settings."""
    # Files that commands create below var/ (the database, the key, mail) are private to this user.
    os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anonmail_site.settings")
    if sys.argv[1:] in (["version"], ["--version"]):
        sys.stdout.write(f"Anonmail {__version__}\n")
        return
    execute_from_command_line(sys.argv)
