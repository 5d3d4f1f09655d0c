"""The schema is made from nothing, and taken away again."""

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

APPS = ("transfer", "mail", "tokens", "contacts", "aliases", "domains", "hooks", "core")


def manage(directory: Path, *words: str) -> str:
    """What a command of manage.py says, on a database of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": "",
        "VAR_DIR": str(directory),
        "SECRET_KEY": "x" * 50,
        "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
    }
    command = [sys.executable, "manage.py", *words]
    done = subprocess.run(
        command,
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_migrations_go_forwards_from_empty_and_back(tmp_path: Path) -> None:
    manage(tmp_path, "migrate", "-v0")
    for app in APPS:
        manage(tmp_path, "migrate", "-v0", app, "zero")
    left = manage(tmp_path, "showmigrations", *APPS)
    manage(tmp_path, "migrate", "-v0")
    made = manage(tmp_path, "showmigrations", *APPS)

    assert "[X]" not in left
    assert "[ ]" not in made
