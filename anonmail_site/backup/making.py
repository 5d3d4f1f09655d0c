"""Making a backup, while everything goes on."""

import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.utils import timezone

from anonmail_site.backup import archive, database
from anonmail_site.backup.archive import Backup, BackupError, Manifest, read_backup
from core.secret_keys import secret_keys

# How often the directories are looked through again because a file went away meanwhile: a mail program
# renames a message when it has been read.
ROUNDS = 10
# The directory that is worked in, and the age at which it must be one of a backup that was killed.
SCRATCH = ".anonmail-backup-"
LEFT = timedelta(days=1)


def make_backup(target: Path) -> Backup:
    """Write a backup to this new file, or to a new one in this directory, and read it back. Only its owner
    can read it. It has its name once it is whole. Raises BackupError; nothing is left of the file then."""
    if target.is_dir():
        target /= f"anonmail-{timezone.localtime():%Y%m%d-%H%M%S}.zip"
    if target.exists() or target.is_symlink():
        raise _exists(target)
    try:
        _remove_leftovers(target.parent)
        scratch = tempfile.TemporaryDirectory(dir=target.parent, prefix=SCRATCH)
    except OSError as error:
        raise BackupError(f"{target} cannot be created: {error.strerror}.") from error
    try:
        with scratch:
            backup = _written(Path(scratch.name))
            _name(backup.path, target)
    except OSError as error:
        raise BackupError(f"{error.filename or target} cannot be copied: {error.strerror}.") from error
    return replace(backup, path=target)


def _exists(target: Path) -> BackupError:
    return BackupError(f"{target} exists. A backup is always a new file.")


def _remove_leftovers(directory: Path) -> None:
    """Remove what backups have left that were killed."""
    for path in directory.glob(f"{SCRATCH}*"):
        if time.time() - path.stat().st_mtime > LEFT.total_seconds():
            shutil.rmtree(path, ignore_errors=True)


def _name(whole: Path, target: Path) -> None:
    """Give the file its name, unless somebody has meanwhile made another one of that name."""
    try:
        # Not a hard link: disks for backups may have none.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        raise _exists(target) from error
    try:
        whole.replace(target)
    except OSError:
        target.unlink()
        raise


def _written(scratch: Path) -> Backup:
    """A backup in this directory, read back. Raises BackupError and OSError."""
    path, copy = scratch / "backup.zip", scratch / archive.DATABASES[connection.vendor]
    with (
        open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as written,
    ):
        copied = database.copy_to(copy)
        made = timezone.now().isoformat(timespec="seconds")
        manifest = Manifest(made, connection.vendor, copied.migrations, copied.rows)
        written.writestr(archive.MANIFEST, manifest.as_json())
        written.writestr(archive.SECRET_KEY, "\n".join(secret_keys()))
        if settings.ENV_FILE and settings.ENV_FILE.is_file():
            written.write(settings.ENV_FILE, archive.SETTINGS)
        written.write(copy, copy.name)
        # The archive needs the room.
        copy.unlink()
        _add_files(written, Path(settings.VAR_DIR))
        written.close()
        file.flush()
        os.fsync(file.fileno())
    return read_backup(path)


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
