"""Making a backup, while everything goes on."""

import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import connection
from django.utils import timezone

from anonmail_site.backup import archive, database
from anonmail_site.backup.archive import Backup, BackupError, Manifest, read_backup
from core.secret_keys import secret_keys

# How often the directories are looked through again because a file went away meanwhile: a mail program
# renames a message when it has been read.
ROUNDS = 10


def make_backup(target: Path) -> Backup:
    """Write a backup to this new file, or to a new one in this directory, and read it back. Only its owner
    can read it. Raises BackupError; nothing is left of the file then."""
    if target.is_dir():
        target /= f"anonmail-{timezone.localtime():%Y%m%d-%H%M%S}.zip"
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BackupError(f"{target} exists. A backup is always a new file.") from error
    except OSError as error:
        raise BackupError(f"{target} cannot be created: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write(file, target.parent)
            file.flush()
            os.fsync(file.fileno())
        return read_backup(target)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise BackupError(f"{error.filename or target} cannot be copied: {error.strerror}.") from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _write(file: IO[bytes], beside: Path) -> None:
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as written,
        tempfile.TemporaryDirectory(dir=beside, prefix=".anonmail-backup-") as scratch,
    ):
        copy = Path(scratch, archive.DATABASES[connection.vendor])
        copied = database.copy_to(copy)
        made = timezone.now().isoformat(timespec="seconds")
        manifest = Manifest(made, connection.vendor, copied.migrations, copied.rows)
        written.writestr(archive.MANIFEST, manifest.as_json())
        written.writestr(archive.SECRET_KEY, "\n".join(secret_keys()))
        if settings.ENV_FILE and settings.ENV_FILE.is_file():
            written.write(settings.ENV_FILE, archive.SETTINGS)
        written.write(copy, copy.name)
        _add_files(written, Path(settings.VAR_DIR))


def _add_files(written: zipfile.ZipFile, var: Path) -> None:
    added: set[Path] = set()
    for _round in range(ROUNDS):
        has_missed = False
        for path in _files(var):
            if path in added:
                continue
            try:
                written.write(path, f"var/{path.relative_to(var).as_posix()}")
                added.add(path)
            except FileNotFoundError:
                has_missed = True
        if not has_missed:
            return


def _files(var: Path) -> Iterator[Path]:
    for name in archive.DIRECTORIES:
        for path in sorted((var / name).rglob("*")):
            # tmp: messages that are being delivered.
            if path.is_file() and not path.is_symlink() and path.parent != var / "mail" / "tmp":
                yield path
