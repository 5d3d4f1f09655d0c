"""A backup's file: a ZIP archive of a manifest, the database, the secret key and files of var/.

Whoever reads one trusts nothing in it: what is damaged, truncated, made by something else or made to do harm
is refused before anything is written.
"""

import json
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST, SECRET_KEY, SETTINGS = "manifest.json", "secret_key", "settings.env"
# The database's copy, by Django's name for its kind.
DATABASES = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}
NAMES_OF_DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
# Directories of var/ whose files are kept: forwarded mail, the site's own mail, Postfix's configuration.
# Everything else there is made anew.
DIRECTORIES = ("mail", "outbox", "postfix")
FORMAT = 1
# Octets of a manifest, a secret key or a settings file.
SMALL = 1024 * 1024
# How often its own size a backup may take when it is unpacked, and the octets that are always allowed.
# Databases shrink to a tenth or so; a file made to fill a disk, to a thousandth.
EXPANSION_MAX = 200
EXPANSION_ALWAYS = 256 * SMALL

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


class BackupError(Exception):
    """A backup cannot be made or restored: `str(error)` is a sentence that says why."""


@dataclass(frozen=True)
class Manifest:
    """What is known of a backup before its database is read."""

    made: str  # ISO 8601
    database: str  # a key of DATABASES
    migrations: list[str]  # that the database has, as in accounts.0001_initial
    rows: dict[str, int]  # in each table
    format: int = field(default=FORMAT)

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


@dataclass(frozen=True)
class Backup:
    """A backup that has been read to its end and found whole."""

    path: Path
    manifest: Manifest
    # The present one first, then earlier ones.
    secret_keys: tuple[str, ...]
    settings: str | None
    files: tuple[str, ...]  # below var/, as in mail/new/1

    def unpack_database(self, target: Path) -> None:
        """Write the database's copy to this new file. Raises BackupError."""
        with _opened(self.path) as archive:
            _unpack(archive, DATABASES[self.manifest.database], target)

    def unpack_files(self, var: Path) -> None:
        """Write the files below this directory, over those of the same names. Raises BackupError."""
        with _opened(self.path) as archive:
            for name in self.files:
                target = var / name
                if target.is_symlink() or not target.parent.resolve().is_relative_to(var.resolve()):
                    raise BackupError(f"{target} leads elsewhere by a symbolic link. Remove the link first.")
                _unpack(archive, f"var/{name}", target)


def read_backup(path: Path) -> Backup:
    """The backup in this file, all of which has been read and compared with its checksums. Raises
    BackupError."""
    with _opened(path) as archive:
        members = _checked_members(archive, path)
        manifest = _manifest(archive, members)
        name = DATABASES[manifest.database]
        for needed in (name, SECRET_KEY):
            if needed not in members:
                raise BackupError(f"{path} is damaged: {needed} is missing.")
        if not (keys := tuple(_small(archive, members, SECRET_KEY).split())):
            raise BackupError(f"{path} is damaged: {SECRET_KEY} is empty.")
        if broken := archive.testzip():
            raise BackupError(f"{path} is damaged: {broken} is not what was written.")
        return Backup(
            path=path,
            manifest=manifest,
            secret_keys=keys,
            settings=_small(archive, members, SETTINGS) if SETTINGS in members else None,
            files=tuple(member.removeprefix("var/") for member in members if member.startswith("var/")),
        )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever is wrong with it is a BackupError, whenever it is found."""
    if not path.is_file():
        raise BackupError(f"There is no file {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except PermissionError as error:
        raise BackupError(f"{error.filename} cannot be opened: {error.strerror}.") from error
    except _BROKEN as error:
        raise BackupError(f"{path} is not a backup of Anonmail, or it is damaged or incomplete.") from error


def _checked_members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The archive's files by name. Raises BackupError if one is none that a backup has, or they are far too
    large."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if not _belongs(member) or member.filename in members:
            # The name is the author's: it must not say anything to a terminal.
            raise BackupError(f"{path} is not a backup of Anonmail: it contains {ascii(member.filename)}.")
        members[member.filename] = member
    octets = sum(member.file_size for member in members.values())
    if octets > max(EXPANSION_ALWAYS, EXPANSION_MAX * path.stat().st_size):
        raise BackupError(f"{path} is not a backup of Anonmail: unpacked, it would have {octets} octets.")
    return members


def _belongs(member: zipfile.ZipInfo) -> bool:
    """Whether it is an ordinary file of those that a backup has, and would be written where it says."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG} or member.flag_bits & 0x1 or "\\" in member.orig_filename:
        return False
    if member.filename != member.orig_filename:
        # Cut off at a NUL.
        return False
    if member.filename in {MANIFEST, SECRET_KEY, SETTINGS, *DATABASES.values()}:
        return True
    parts = PurePosixPath(member.filename).parts
    is_plain = "/".join(parts) == member.filename and ".." not in parts
    return is_plain and len(parts) > 2 and parts[0] == "var" and parts[1] in DIRECTORIES


def _manifest(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> Manifest:
    given: Any = json.loads(_small(archive, members, MANIFEST)) if MANIFEST in members else None
    if not isinstance(given, dict) or not isinstance(given.get("format"), int):
        raise BackupError(f"{archive.filename} is not a backup of Anonmail: it has no manifest.")
    if given["format"] > FORMAT:
        raise BackupError(f"{archive.filename} was made by a newer Anonmail. Upgrade first.")
    try:
        manifest = Manifest(**given)
        is_whole = (
            manifest.database in DATABASES
            and all(isinstance(name, str) for name in manifest.migrations)
            and all(isinstance(number, int) for number in manifest.rows.values())
        )
    except (TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise BackupError(f"{archive.filename} is damaged: its manifest is invalid.")
    return manifest


def _small(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str) -> str:
    if members[name].file_size > SMALL:
        raise BackupError(f"{archive.filename} is not a backup of Anonmail: {name} is too large.")
    return archive.read(name).decode()


def _unpack(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    """Write one file, readable by its owner alone. On a full disk, nothing is left of it."""
    with archive.open(name) as source:
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(target, "wb", opener=_private) as file:
                shutil.copyfileobj(source, file, SMALL)
        except OSError as error:
            target.unlink(missing_ok=True)
            raise BackupError(f"{target} cannot be written: {error.strerror}.") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
