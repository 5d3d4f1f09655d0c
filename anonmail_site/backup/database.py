"""The database's part of a backup: a copy of one moment, and what puts it back."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db import DatabaseError, connection, transaction
from django.db.backends.postgresql.client import DatabaseClient
from django.db.migrations.loader import MigrationLoader

from accounts.models import User
from anonmail_site.backup.archive import BackupError
from core.db.locks import write_turn
from domains.models import Domain

# The schema that has the present tables while others are restored.
ASIDE = "anonmail_before_restore"
# Where Debian keeps the programs of each version of PostgreSQL.
DEBIAN_PROGRAMS = "/usr/lib/postgresql"
# What libpq reads from the environment and Django's client does not set.
LIBPQ_OPTIONS = {"target_session_attrs": "PGTARGETSESSIONATTRS", "connect_timeout": "PGCONNECT_TIMEOUT"}


@dataclass(frozen=True)
class Copied:
    """What a copy contains."""

    migrations: list[str]
    rows: dict[str, int]


def copy_to(target: Path) -> Copied:
    """Copy the database as it is at one moment to this new file; others go on writing. Raises BackupError."""
    if connection.vendor == "postgresql":
        return _dump(target)
    connection.ensure_connection()
    with _copying(), closing(sqlite3.connect(target)) as copy:
        target.chmod(0o600)
        connection.connection.backup(copy)
        # One file, which needs no log beside it.
        copy.execute("PRAGMA journal_mode=DELETE")
        _refuse_broken(copy)
        return _contents(copy)


@contextmanager
def _copying() -> Iterator[None]:
    """Whatever SQLite raises is a BackupError: the disk can be full with any page."""
    try:
        yield
    except sqlite3.Error as error:
        raise BackupError(f"The database cannot be copied: {error}.") from error


def _dump(target: Path) -> Copied:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        ((snapshot,),) = cursor.fetchall()
        tables = _tables()
        _run(
            "pg_dump",
            ["--format=custom", f"--snapshot={snapshot}", *_OF_ANYBODY, f"--file={target}"]
            + [f"--table={table}" for table in tables],
        )
        return Copied(_migrations(), _rows_of(tables))


_OF_ANYBODY = ("--no-owner", "--no-privileges")


def has_data() -> bool:
    """Whether the database has a person or a domain; one that has no tables yet has not."""
    tables = connection.introspection.table_names()
    models = (model for model in (User, Domain) if model._meta.db_table in tables)
    return any(model.objects.exists() for model in models)


def unknown_migrations(migrations: Iterable[str]) -> list[str]:
    """Those of these migrations that this version of Anonmail does not have."""
    known = {
        f"{app}.{name}" for app, name in MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    }
    return sorted(set(migrations) - known)


def check_copy(copy: Path, rows: Mapping[str, int]) -> None:
    """Raise BackupError if a copy that was unpacked is not sound, or has not these rows; changes nothing."""
    if connection.vendor == "postgresql":
        # Reads all of it, and says it as SQL.
        _run("pg_restore", ["--file=/dev/null", str(copy)], connects=False)
        return
    with closing(sqlite3.connect(copy)) as opened:
        _refuse_broken(opened)
        _compare(_contents(opened).rows, rows)


def restore_from(copy: Path, rows: Mapping[str, int]) -> None:
    """Put a copy in the database's place; whatever Anonmail has there is lost. Raises BackupError; then, on
    PostgreSQL, everything is there as before."""
    if connection.vendor == "postgresql":
        with _tables_aside():
            _run("pg_restore", ["--single-transaction", "--exit-on-error", *_OF_ANYBODY], copy)
            _compare(_rows_of(_tables()), rows)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        return
    connection.ensure_connection()
    # Into the database, not over its file: a process that has it open sees the change.
    with write_turn(), _copying(), closing(sqlite3.connect(copy)) as opened:
        opened.backup(connection.connection)
    connection.close()
    _compare(_rows_of(_tables()), rows)


@contextmanager
def _tables_aside() -> Iterator[None]:
    """Anonmail's tables are in another schema meanwhile. They are dropped in the end, or come back if what
    was done failed, or if it was interrupted and begins anew. Raises BackupError."""
    try:
        _bring_back()
        moves = (f"ALTER TABLE {each} SET SCHEMA {ASIDE}" for each in _quoted(_tables()))
        _execute(f"CREATE SCHEMA {ASIDE}", *moves)
    except DatabaseError as error:
        raise BackupError(f"The present tables cannot be put aside: {str(error).splitlines()[0]}.") from error
    try:
        yield
    except BaseException:
        _bring_back()
        raise
    _execute(f"DROP SCHEMA {ASIDE} CASCADE")


def _bring_back() -> None:
    """Put the tables that are aside in the place of those that are there, if they are."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema() FROM pg_namespace WHERE nspname = %s", [ASIDE])
        if not (found := cursor.fetchone()):
            return
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [ASIDE])
        aside = [table for (table,) in cursor.fetchall()]
    schema = connection.ops.quote_name(found[0])
    _execute(
        *(f"DROP TABLE {each} CASCADE" for each in _quoted(_tables())),
        *(f"ALTER TABLE {ASIDE}.{each} SET SCHEMA {schema}" for each in _quoted(aside)),
        f"DROP SCHEMA {ASIDE}",
    )


def _quoted(names: Iterable[str]) -> list[str]:
    return list(map(connection.ops.quote_name, names))


def _execute(*statements: str) -> None:
    """Run these in one transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _tables() -> list[str]:
    """Anonmail's tables in the database."""
    ours = {*connection.introspection.django_table_names(only_existing=True), "django_migrations"}
    return sorted(ours.intersection(connection.introspection.table_names()))


def _migrations() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations ORDER BY id")
        return [f"{app}.{name}" for app, name in cursor.fetchall()]


def _rows_of(tables: Sequence[str]) -> dict[str, int]:
    with connection.cursor() as cursor:
        found = {}
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608
            found[table] = cursor.fetchone()[0]
        return found


def _contents(copy: sqlite3.Connection) -> Copied:
    """What an SQLite file of ours contains. Raises BackupError if it is none."""
    try:
        migrations = copy.execute("SELECT app, name FROM django_migrations ORDER BY id").fetchall()
        tables = copy.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        rows = {
            name: copy.execute(f"SELECT count(*) FROM {connection.ops.quote_name(name)}").fetchone()[0]  # noqa: S608
            for (name,) in tables.fetchall()
        }
    except sqlite3.Error as error:
        raise BackupError(f"This is not a database of Anonmail's: {error}.") from error
    return Copied([f"{app}.{name}" for app, name in migrations], dict(sorted(rows.items())))


def _refuse_broken(copy: sqlite3.Connection) -> None:
    try:
        found = [text for (text,) in copy.execute("PRAGMA integrity_check(1)")]
    except sqlite3.Error as error:
        found = [str(error)]
    if found != ["ok"]:
        raise BackupError(f"The database is damaged: {found[0]}.")


def _compare(found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    for table in sorted({*found, *expected}):
        numbers = expected.get(table, 0), found.get(table, 0)
        if numbers[0] != numbers[1]:
            raise BackupError("{} should have {} rows, but it has {}.".format(table, *numbers))


def _run(
    program: str, arguments: Sequence[str], source: Path | None = None, *, connects: bool = True
) -> None:
    """Run one of PostgreSQL's programs on our database. Raises BackupError with its last words."""
    path = _program(program)
    environment = dict(os.environ)
    if connects:
        settings = connection.settings_dict
        parameters = [*arguments, "--no-password", "--dbname"]
        (_psql, *arguments), given = DatabaseClient.settings_to_cmd_args_env(settings, parameters)
        environment |= given or {}
        options = settings["OPTIONS"]
        environment |= {name: str(options[key]) for key, name in LIBPQ_OPTIONS.items() if key in options}
    command = [path, *arguments, *([str(source)] if source else [])]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
        raise BackupError(f"{program} failed: {said[0].removeprefix(f'{program}: ').rstrip('.')}.")


def _program(name: str) -> str:
    """The program of the newest version that is installed: it can read any older server."""
    versions = sorted(Path(DEBIAN_PROGRAMS).glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = str(versions[-1]) if versions else shutil.which(name)
    if found is None:
        raise BackupError(f"{name} was not found. On Debian and Ubuntu: apt install postgresql-client")
    return found
