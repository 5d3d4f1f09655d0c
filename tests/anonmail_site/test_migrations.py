"""The schema is made from nothing, and taken away again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django_migration_linter import MigrationLinter

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


def linter() -> MigrationLinter:
    """What finds SQL that the code before does not survive. Its rules for SQLite take each table that Django
    makes anew for a fault, so that it looks at PostgreSQL's SQL."""
    return MigrationLinter(
        str(settings.BASE_DIR),
        include_apps=["accounts", *APPS],
        ignore_initial_migrations=True,
        no_cache=True,
    )


@pytest.mark.postgresql
@pytest.mark.django_db
def test_the_release_before_survives_every_migration(capsys: pytest.CaptureFixture[str]) -> None:
    lints = linter()

    lints.lint_all_migrations()

    assert not lints.has_errors, capsys.readouterr().out
    assert lints.nb_valid + lints.nb_warnings > 0


@pytest.mark.postgresql
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("operation", "is_survived"),
    [
        (migrations.AddField("tally", "size", models.IntegerField(null=True)), True),
        (migrations.AddField("tally", "size", models.IntegerField(db_default=0)), True),
        (migrations.AddField("tally", "size", models.IntegerField(default=0)), False),
        (migrations.RemoveField("tally", "labels"), False),
        (migrations.RenameField("tally", "labels", "marks"), False),
        (migrations.DeleteModel("Tally"), False),
        (migrations.AlterField("tally", "value", models.IntegerField()), False),
    ],
    ids=lambda value: value.describe() if isinstance(value, migrations.operations.base.Operation) else None,
)
def test_the_linter_knows_what_is_not_survived(
    monkeypatch: pytest.MonkeyPatch, operation: migrations.operations.base.Operation, is_survived: bool
) -> None:
    last = max(name for app, name in MigrationLoader(None).disk_migrations if app == "core")
    migration = migrations.Migration("0999_tried", "core")
    migration.operations, migration.dependencies = [operation], [("core", last)]
    statements = sql_of(migration)
    lints = linter()
    monkeypatch.setattr(lints, "get_sql", lambda *names: statements)
    monkeypatch.setattr(lints, "get_migration_hash", lambda *names: "")

    lints.lint_migration(migration)

    assert lints.has_errors != is_survived, statements


def sql_of(migration: migrations.Migration) -> list[str]:
    """The statements of a migration that follows all of its app's others."""
    state = MigrationLoader(connection).project_state(migration.dependencies)
    with connection.schema_editor(collect_sql=True, atomic=False) as editor:
        migration.apply(state, editor, collect_sql=True)
    return list(editor.collected_sql)
