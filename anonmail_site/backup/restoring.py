"""Restoring a backup on an empty machine, or over what is there."""

import os
import tempfile
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection

from anonmail_site.backup import database
from anonmail_site.backup.archive import DIRECTORIES, NAMES_OF_DATABASES, Backup, BackupError
from core.disk import write_new, write_over


def refuse_other(backup: Backup) -> None:
    """Raise BackupError if the backup is not for this version of Anonmail, or for this kind of database."""
    if unknown := database.unknown_migrations(backup.manifest.migrations):
        raise BackupError(f"The backup was made by another version of Anonmail, which has {unknown[0]}.")
    if backup.manifest.database != connection.vendor:
        has, is_for = (NAMES_OF_DATABASES[name] for name in (connection.vendor, backup.manifest.database))
        raise BackupError(f"The backup is for {is_for}, but DATABASE_URL names {has}.")


def refuse_used_machine(backup: Backup) -> None:
    """Raise BackupError, with what would be lost, if anything is there that the backup would replace."""
    found = "the database has people or domains" if database.has_data() else ""
    for name in DIRECTORIES:
        if any(path.is_file() for path in (Path(settings.VAR_DIR) / name).rglob("*")):
            found = found or f"{Path(settings.VAR_DIR) / name} contains files"
    if _keys_in_file() not in ((), backup.secret_keys):
        found = found or f"{settings.SECRET_KEY_PATH} is another key"
    if found:
        raise BackupError(
            f"This machine is not empty: {found}. With --replace, the backup takes their place."
        )


def write_settings(backup: Backup, readable_for: int | None = None) -> bool:
    """Write the backup's settings file, and return whether it was not there yet. Raises BackupError, also if
    there is another one.

    `readable_for`: the number of the group that may read it.
    """
    if backup.settings is None:
        raise BackupError("The backup contains no settings file.")
    if not settings.ENV_FILE:
        raise BackupError("ENV_FILE is empty: nothing says where the settings file belongs.")
    path: Path = settings.ENV_FILE
    if path.is_file() and path.read_text() == backup.settings:
        return False
    _write_private(path, backup.settings, is_new=True)
    if readable_for is not None:
        os.chown(path, -1, readable_for)
        path.chmod(0o640)
    return True


def settle_secret_key(backup: Backup) -> bool:
    """Make the backup's secret keys this installation's, before those that it has, and return whether the
    settings were read with others, or none. Raises BackupError if another key is set elsewhere."""
    current, in_file, keys = _present_key(), _keys_in_file(), backup.secret_keys
    is_set_elsewhere = bool(current) and in_file[:1] != (current,)
    if in_file[: len(keys)] == keys or (is_set_elsewhere and current == keys[0]):
        return False
    if is_set_elsewhere:
        raise BackupError(
            "SECRET_KEY is set, and is not the backup's: its DKIM keys could not be read. Remove the "
            f"setting: the backup's key is then used, from {settings.SECRET_KEY_PATH}."
        )
    # What is in the database now needs them until it is replaced.
    earlier = (key for key in in_file if key not in keys)
    _write_keys(*keys, *earlier)
    return True


def restore(backup: Backup) -> None:
    """Put the database and the files in place, bring the tables up to date, and forget the secret keys that
    were there before. Raises BackupError."""
    with tempfile.TemporaryDirectory(dir=settings.VAR_DIR, prefix=".anonmail-restore-") as scratch:
        copy = Path(scratch, "database")
        backup.unpack_database(copy)
        database.check_copy(copy, backup.manifest.rows)
        database.restore_from(copy, backup.manifest.rows)
    backup.unpack_files(Path(settings.VAR_DIR))
    call_command("migrate", interactive=False, verbosity=0)
    keys = backup.secret_keys
    if _keys_in_file()[: len(keys)] == keys:
        _write_keys(*keys)


def _keys_in_file() -> tuple[str, ...]:
    path = settings.SECRET_KEY_PATH
    return tuple(path.read_text().split()) if path.is_file() else ()


def _write_keys(*keys: str) -> None:
    _write_private(settings.SECRET_KEY_PATH, "\n".join(keys) + "\n")


def _present_key() -> str:
    try:
        return str(settings.SECRET_KEY)
    except ImproperlyConfigured:
        return ""


def _write_private(path: Path, text: str, *, is_new: bool = False) -> None:
    """Write it whole, or leave what is there: a disk that is full now must not cost the key that is in use.
    Raises BackupError."""
    if path.is_symlink():
        raise BackupError(f"{path} is a symbolic link. Remove it first.")
    try:
        (write_new if is_new else write_over)(path, text)
    except FileExistsError as error:
        raise BackupError(f"{path} exists. Move it away to restore the backup's.") from error
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}.") from error
