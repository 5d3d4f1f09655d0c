#!/usr/bin/env python
"""Django's command line with Anonmail's settings."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    # Files that commands create below var/ (the database, the key, mail) are private to this user.
    os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anonmail_site.settings")
    execute_from_command_line(sys.argv)
