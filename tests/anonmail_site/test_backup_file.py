"""A backup's file: whatever is not one, or has been changed, is refused before anything is written."""

import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from anonmail_site.backup import archive
from anonmail_site.backup.archive import BackupError, Manifest, read_backup
from anonmail_site.backup.restoring import settle_secret_key

MANIFEST = Manifest("2026-11-27T03:00:00+00:00", "sqlite", ["accounts.0001_initial"], {"accounts_user": 1})
DATABASE = b"SQLite format 3\0" + bytes(range(256)) * 40


def written(path: Path, members: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def whole(**changes: bytes | None) -> dict[str | zipfile.ZipInfo, bytes]:
    members: dict[str, bytes | None] = {
        archive.MANIFEST: MANIFEST.as_json().encode(),
        archive.SECRET_KEY: b"k" * 50,
        "database.sqlite3": DATABASE,
        "var/mail/new/1": b"Subject: hello\n",
    }
    return {name: content for name, content in (members | changes).items() if content is not None}


def manifest(**changes: object) -> bytes:
    return json.dumps(json.loads(MANIFEST.as_json()) | changes).encode()


def test_a_whole_backup_gives_back_what_is_in_it(tmp_path: Path) -> None:
    backup = read_backup(written(tmp_path / "backup.zip", whole()))

    backup.unpack_database(tmp_path / "copy")
    backup.unpack_files(tmp_path / "var")

    assert backup.manifest == MANIFEST
    assert backup.secret_keys == ("k" * 50,)
    assert backup.settings is None
    assert (tmp_path / "copy").read_bytes() == DATABASE
    assert (tmp_path / "var/mail/new/1").read_bytes() == b"Subject: hello\n"
    assert {
        stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "copy", tmp_path / "var/mail/new/1")
    } == {0o600}


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, part: float) -> None:
    path = written(tmp_path / "backup.zip", whole())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])

    with pytest.raises(BackupError, match="damaged or incomplete"):
        read_backup(path)


def test_no_octet_of_the_database_can_change_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, content in whole().items():
            file.writestr(name, content)
    content = bytearray(path.read_bytes())
    content[content.index(DATABASE) + 5000] ^= 1
    path.write_bytes(content)

    with pytest.raises(BackupError, match="damaged"):
        read_backup(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({archive.MANIFEST: None}, "has no manifest"),
        ({archive.MANIFEST: b"[]"}, "has no manifest"),
        ({archive.MANIFEST: b"{"}, "not a backup of Anonmail"),
        ({archive.MANIFEST: manifest(format=2)}, "made by a newer Anonmail"),
        ({archive.MANIFEST: manifest(database="oracle")}, "manifest is invalid"),
        ({archive.MANIFEST: manifest(rows=[1])}, "manifest is invalid"),
        ({archive.MANIFEST: manifest(more=1)}, "manifest is invalid"),
        ({archive.SECRET_KEY: None}, "secret_key is missing"),
        ({archive.SECRET_KEY: b"\n"}, "secret_key is empty"),
        ({"database.sqlite3": None}, "database.sqlite3 is missing"),
        ({"database.sqlite3": None, "database.dump": DATABASE}, "database.sqlite3 is missing"),
        ({archive.SECRET_KEY: b"k" * (archive.SMALL + 1)}, "secret_key is too large"),
        ({"more": b""}, "contains 'more'"),
        ({"../../etc/passwd": b""}, "contains '../../etc/passwd'"),
        ({"/etc/passwd": b""}, "contains '/etc/passwd'"),
        ({"var/mail/../../../etc/passwd": b""}, r"contains 'var/mail/\.\./"),
        ({"var/mail/./x": b""}, "contains"),
        ({"var/mail//x": b""}, "contains"),
        ({"var/mail\\..\\..\\x/y": b""}, "contains"),
        ({"var/static/site.css": b""}, "contains 'var/static/site.css'"),
        ({"var/mail": b""}, "contains 'var/mail'"),
        ({"var/mail/new/": b""}, "contains 'var/mail/new/'"),
        ({"var/\x1b[2J/x": b""}, r"contains 'var/\\x1b"),
    ],
)
def test_what_no_backup_contains_is_refused(
    tmp_path: Path, changes: dict[str, bytes | None], sentence: str
) -> None:
    path = written(tmp_path / "backup.zip", whole(**changes))

    with pytest.raises(BackupError, match=sentence):
        read_backup(path)


def member(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_only_ordinary_files_are_accepted(tmp_path: Path, kind: int) -> None:
    path = written(tmp_path / "backup.zip", whole() | {member("var/mail/cur", kind): b"/etc"})

    with pytest.raises(BackupError, match="not a backup of Anonmail"):
        read_backup(path)


def test_a_file_cannot_be_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in whole().items():
            file.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("database.sqlite3", b"another")

    with pytest.raises(BackupError, match="not a backup of Anonmail"):
        read_backup(path)


def test_a_file_that_would_fill_the_disk_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "EXPANSION_ALWAYS", 1024 * 1024)
    path = written(tmp_path / "backup.zip", whole(**{"database.sqlite3": bytes(20 * 1024 * 1024)}))
    reads: list[str] = []
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda self, name, *args: reads.append(name))

    with pytest.raises(BackupError, match="unpacked, it would have"):
        read_backup(path)

    assert not reads


def test_a_file_is_no_larger_than_it_says(tmp_path: Path) -> None:
    """A bomb can lie about its size; what is unpacked then is no more than that."""
    path = written(tmp_path / "backup.zip", whole(**{"database.sqlite3": bytes(4 * 1024 * 1024)}))
    with zipfile.ZipFile(path) as file:
        true_size = file.getinfo("database.sqlite3").file_size.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(true_size, (1000).to_bytes(4, "little")))

    with pytest.raises(BackupError, match="damaged"):
        read_backup(path)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: None, lambda path: path.touch()])
def test_what_is_no_file_of_ours_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "backup.zip"
    make(path)

    with pytest.raises(BackupError, match="There is no file|not a backup of Anonmail"):
        read_backup(path)


def test_nothing_is_written_through_a_link_on_the_machine(tmp_path: Path) -> None:
    backup = read_backup(written(tmp_path / "backup.zip", whole()))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "var" / "mail").mkdir(parents=True)
    (tmp_path / "var" / "mail" / "new").symlink_to(elsewhere)

    with pytest.raises(BackupError, match="leads elsewhere by a symbolic link"):
        backup.unpack_files(tmp_path / "var")

    assert not list(elsewhere.iterdir())


def test_a_nested_archive_is_data(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("../x", b"")

    backup = read_backup(written(tmp_path / "backup.zip", whole(**{"var/mail/new/1": inner.getvalue()})))
    backup.unpack_files(tmp_path / "var")

    assert (tmp_path / "var/mail/new/1").read_bytes() == inner.getvalue()


@pytest.mark.parametrize(
    ("present", "in_file", "is_written"),
    [
        ("", None, True),
        ("new", "new\nold\n", False),
        ("new", "new\n", True),
        ("other", "other\n", True),
        # Set in the environment.
        ("new", None, False),
    ],
)
def test_earlier_secret_keys_come_back_with_the_present_one(
    tmp_path: Path, settings: Settings, present: str, in_file: str | None, is_written: bool
) -> None:
    path = settings.SECRET_KEY_PATH = tmp_path / "secret_key"
    if in_file is not None:
        path.write_text(in_file)
    settings.SECRET_KEY = present
    backup = read_backup(written(tmp_path / "backup.zip", whole(**{archive.SECRET_KEY: b"new\nold"})))

    assert settle_secret_key(backup) is is_written

    if is_written or in_file:
        # Until everything is restored, the present data needs its own key.
        earlier = "other\n" if present == "other" else ""
        assert path.read_text() == f"new\nold\n{earlier}"


def test_another_key_that_is_set_elsewhere_is_left(tmp_path: Path, settings: Settings) -> None:
    settings.SECRET_KEY_PATH = tmp_path / "secret_key"
    settings.SECRET_KEY = "other"
    backup = read_backup(written(tmp_path / "backup.zip", whole()))

    with pytest.raises(BackupError, match="SECRET_KEY is set, and is not the backup's"):
        settle_secret_key(backup)

    assert not settings.SECRET_KEY_PATH.exists()
