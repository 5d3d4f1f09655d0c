"""While machines are upgraded one after the other, the release before runs on the new schema.

`last_release.txt` names its commit: change it when a release is made.
"""

import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.conftest import missing

COMMIT = Path(__file__).with_name("last_release.txt").read_text().strip()
# What creates aliases, by hand and by the API, and forwards mail.
ITS_TESTS = (
    "tests/aliases/test_issuing.py",
    "tests/api/simplelogin/test_random_alias.py",
    "tests/mail/delivery/test_forwarding.py",
)
_TABLES = """
import json, django
django.setup()
from django.apps import apps
print(json.dumps({
    model._meta.db_table: [field.column for field in model._meta.local_concrete_fields]
    for model in apps.get_models(include_auto_created=True) if not model._meta.proxy
}))
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last release's code."""
    try:
        archive = subprocess.run(
            ["git", "archive", COMMIT], cwd=settings.BASE_DIR, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        missing("the last release (its commit is not in this copy of the history)")
    directory = tmp_path_factory.mktemp("release")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(directory, filter="data")
    return directory


def run(directory: Path, *command: str, **environment: str) -> str:
    """What Python says in that directory, on settings of its own."""
    environment = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "tests.settings", **environment}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.django_db
def test_all_that_the_last_release_reads_and_writes_is_there_and_no_more_is_needed(
    release: Path,
) -> None:
    tables: dict[str, list[str]] = json.loads(run(release, "-c", _TABLES))

    gone, needed = [], []
    with connection.cursor() as cursor:
        there = connection.introspection.table_names(cursor)
        for table, known in tables.items():
            columns = {
                column.name: column
                for column in (
                    connection.introspection.get_table_description(cursor, table) if table in there else ()
                )
            }
            gone += [f"{table}.{name}" for name in known if name not in columns]
            # It inserts without these: they need a db_default, or must be nullable.
            needed += [
                f"{table}.{name}"
                for name, column in columns.items()
                if name not in known and not column.null_ok and column.default is None
            ]

    assert (gone, needed) == ([], [])


@pytest.mark.sqlite
def test_the_last_release_passes_its_tests_on_the_new_schema(release: Path, tmp_path: Path) -> None:
    database = tmp_path / "newer.sqlite3"
    run(
        settings.BASE_DIR,
        "manage.py",
        "migrate",
        "-v0",
        DJANGO_SETTINGS_MODULE="anonmail_site.settings",
        ENV_FILE="",
        SECRET_KEY="x" * 60,
        VAR_DIR=str(tmp_path),
        DATABASE_URL=f"sqlite:///{database}",
    )
    (release / "tests" / "on_newer_schema.py").write_text(
        "from tests.settings import *\n"
        "from tests.settings import DATABASES\n"
        f'DATABASES["default"]["TEST"] = {{"NAME": {str(database)!r}}}\n'
    )

    said = run(
        release,
        *("-m", "pytest", "-q", "--reuse-db", "-p", "no:cacheprovider", *ITS_TESTS),
        DJANGO_SETTINGS_MODULE="tests.on_newer_schema",
        VAR_DIR=str(tmp_path / "var"),
    )

    assert " passed" in said
