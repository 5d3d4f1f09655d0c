"""Backups, rehearsed in processes of their own: made while others write, and restored on an empty machine."""

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import User
from anonmail_site.backup import database
from anonmail_site.backup.archive import BackupError
from tests.anonmail_site.test_environment import NOBODY
from tests.anonmail_site.test_prepare import needs_root
from tests.rig.postgresql import another_database

BASE = Path(__file__).resolve().parents[2]
# Creates aliases until it is stopped, and says each one's address once it is committed.
WRITER = """
import django
django.setup()
from accounts.models import User
from aliases.issuing import issue
owner = User.objects.get()
while True:
    print(issue(owner=owner, hostname="shop.example").address, flush=True)
"""
# Says what is in the database, and whether the secrets in it can be read.
READER = """
import json
import django
django.setup()
from accounts.models import User
from aliases.models import Alias
from core.sealing import unseal
from domains.models.dkim_key import PURPOSE, DkimKey
print(json.dumps({
    "addresses": list(Alias.objects.order_by("pk").values_list("address", flat=True)),
    "without destinations": Alias.objects.filter(destinations=None).count(),
    "people": list(User.objects.values_list("email", "password")),
    "keys": [unseal(PURPOSE, key.sealed).hex() for key in DkimKey.objects.order_by("pk")],
}))
"""


class Machine:
    """A directory with an installation, and its database."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.directory = directory
        self.env_file = directory / ".env"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "ANONMAIL_DIR": str(directory),
            "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
            "ALIASES_PER_HOUR": "1000000",
            "ALIASES_PER_DAY": "1000000",
            **({"DATABASE_URL": database_url} if database_url else {}),
        }
        directory.mkdir()

    @property
    def var(self) -> Path:
        return self.directory / "var"

    def manage(self, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "manage.py", *map(str, arguments)], more)

    def read(self) -> dict[str, Any]:
        done = self._run([sys.executable, "-c", READER], {})
        assert not done.returncode, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def _run(self, command: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=BASE, env=self.environment | more, capture_output=True, text=True, check=False
        )

    @contextmanager
    def written_to(self) -> Iterator[list[str]]:
        """Aliases are created meanwhile; their addresses, in their order, at the end of the block."""
        said = self.directory / "created"
        created: list[str] = []
        with said.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", WRITER], cwd=BASE, env=self.environment, stdout=output, text=True
            )
        try:
            _wait_until(lambda: len(said.read_text().splitlines()) > 10)
            yield created
            seen = len(said.read_text().splitlines())
            _wait_until(lambda: len(said.read_text().splitlines()) > seen + 5)
        finally:
            process.kill()
            process.wait()
            created += said.read_text().splitlines()


def _wait_until(is_true: Any) -> None:
    deadline = time.monotonic() + 120
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


OTHER_DATABASES = {"database.sqlite3": "database.dump", "database.dump": "database.sqlite3"}
Change = Callable[[str, bytes], tuple[str, bytes]]


def rewrite(source: Path, target: Path, change: Change) -> None:
    """Write a backup anew, as somebody could who has one."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(*change(name, old.read(name)))


def with_manifest(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    def changed(name: str, content: bytes) -> tuple[str, bytes]:
        return name, json.dumps(change(json.loads(content))).encode() if name == "manifest.json" else content

    return changed


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(5000) + content[middle + 5000 :]


@pytest.fixture
def machines(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Machine, Machine]]:
    """One that runs, and an empty one."""
    with ExitStack() as stack:
        urls = ("", "")
        if connection.vendor == "postgresql":
            request.getfixturevalue("db")
            urls = (stack.enter_context(another_database()), stack.enter_context(another_database()))
        yield Machine(tmp_path / "running", urls[0]), Machine(tmp_path / "empty", urls[1])


def test_a_backup_that_was_made_while_others_wrote_restores_an_empty_machine(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    running, empty = machines
    prepared = running.manage("prepare")
    assert not prepared.returncode, prepared.stderr
    assert not running.manage("dkim_key", "example.com", "--make").returncode
    mail = running.var / "mail"
    (mail / "new").mkdir(parents=True)
    (mail / "tmp").mkdir()
    (mail / "new" / "1").write_text("Subject: hello\n")
    (mail / "tmp" / "2").write_text("half of a mess")
    running.env_file.write_text("MAIL_HOSTNAME=mx.example.com\n")
    file = tmp_path / "backup.zip"

    with running.written_to() as created:
        before = len((running.directory / "created").read_text().splitlines())
        made = running.manage("backup", file)
    restored = empty.manage("restore", file, "--settings-file")
    again = running.manage("backup", file)
    onto_data = empty.manage("restore", file)

    assert not made.returncode, made.stderr
    assert re.fullmatch(rf"Wrote {file}: \d+ rows, 1 files, \d+ octets\.", made.stdout.strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not restored.returncode, restored.stderr
    found, now = empty.read(), running.read()
    number = len(found["addresses"])
    # A moment between the command's start and its end, and nothing of half a transaction.
    assert before <= number < len(created)
    assert found["addresses"] == now["addresses"][:number]
    assert found["without destinations"] == 0
    assert found["people"] == now["people"]
    assert len(found["keys"]) > 0
    assert found["keys"] == now["keys"]
    assert (empty.var / "mail" / "new" / "1").read_text() == "Subject: hello\n"
    assert not (empty.var / "mail" / "tmp").exists()
    assert empty.env_file.read_text() == "MAIL_HOSTNAME=mx.example.com\n"
    assert (empty.var / "secret_key").read_text() == (running.var / "secret_key").read_text()
    private = [empty.env_file, empty.var / "secret_key", empty.var, empty.var / "mail" / "new" / "1"]
    assert not any(path.stat().st_mode & 0o077 for path in private)
    assert not list(empty.var.glob(".anonmail-*"))
    assert not list(tmp_path.glob(".anonmail-*"))
    assert again.returncode == 1
    assert again.stderr.strip() == f"CommandError: {file} exists. A backup is always a new file."
    assert onto_data.returncode == 1
    assert "This machine is not empty: the database has people or domains." in onto_data.stderr


@needs_root
def test_root_restores_the_settings_and_leaves_the_rest_to_the_user_whose_installation_it_is(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    running, empty = machines
    assert not running.manage("prepare").returncode
    running.env_file.write_text("MAIL_HOSTNAME=mx.example.com\n")
    file = tmp_path / "backup.zip"
    assert not running.manage("backup", file).returncode
    empty.var.mkdir()
    os.chown(empty.var, NOBODY, NOBODY)

    alone = empty.manage("restore", file)
    restored = empty.manage("restore", file, "--settings-file")

    assert alone.returncode == 1
    assert f"{empty.var} belongs to nobody, who could not use what root creates there." in alone.stderr
    assert not restored.returncode, restored.stderr
    assert "run this as nobody, without --settings-file." in restored.stdout
    assert empty.env_file.read_text() == "MAIL_HOSTNAME=mx.example.com\n"
    found = empty.env_file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, NOBODY, 0o640)
    assert list(empty.var.iterdir()) == []


def test_restoring_over_data_needs_a_flag_and_loses_nothing_if_the_backup_is_broken(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    first, second = machines
    for machine in machines:
        assert not machine.manage("prepare").returncode
        assert not machine.manage("dkim_key", "example.com", "--make").returncode
    file, broken, other = (tmp_path / f"{name}.zip" for name in ("backup", "broken", "other"))
    assert not first.manage("backup", file).returncode
    rewrite(file, broken, lambda name, content: (name, damaged(content) if "database." in name else content))
    rewrite(file, other, with_manifest(lambda known: known | {"rows": known["rows"] | {"accounts_user": 7}}))
    before = second.read()

    refused = second.manage("restore", file)
    failed = [second.manage("restore", path, "--replace") for path in (broken, other)]
    unchanged = second.read()
    replaced = second.manage("restore", file, "--replace")

    assert refused.returncode == 1
    assert "With --replace, the backup takes their place." in refused.stderr
    assert [each.returncode for each in failed] == [1, 1]
    assert failed[1].stderr.strip() == "CommandError: accounts_user should have 7 rows, but it has 1."
    assert unchanged == before
    assert len(before["keys"]) > 0
    assert (second.var / "secret_key").read_text() == (first.var / "secret_key").read_text()
    assert not replaced.returncode, replaced.stderr
    assert second.read() == first.read() != before


def test_a_backup_of_another_version_or_database_or_key_is_refused(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    running, empty = machines
    assert not running.manage("prepare").returncode
    file = tmp_path / "backup.zip"
    assert not running.manage("backup", file).returncode
    newer, other = tmp_path / "newer.zip", tmp_path / "other.zip"
    kinds = {"sqlite": "postgresql", "postgresql": "sqlite"}
    rewrite(file, newer, with_manifest(lambda known: known | {"migrations": ["aliases.0999_later"]}))
    with_other_kind = with_manifest(lambda known: known | {"database": kinds[connection.vendor]})
    rewrite(file, other, lambda name, content: with_other_kind(OTHER_DATABASES.get(name, name), content))

    said = {path: empty.manage("restore", path).stderr for path in (newer, other)}
    other_key = empty.manage("restore", file, SECRET_KEY="another-" + "0123456789" * 5)
    checked = empty.manage("restore", file, "--check")

    assert "was made by another version of Anonmail, which has aliases.0999_later" in said[newer]
    assert "The backup is for" in said[other]
    assert "SECRET_KEY is set, and is not the backup's" in other_key.stderr
    assert "is whole; it was made at" in checked.stdout
    assert not (empty.var / "secret_key").exists()


@pytest.mark.sqlite
def test_nothing_is_left_of_a_backup_that_fails(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    running, _empty = machines
    assert not running.manage("prepare", "--no-first-account").returncode
    path = running.var / "anonmail.sqlite3"
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = opened.execute("SELECT rootpage FROM sqlite_master WHERE name = 'accounts_user'")
        (page,) = pages.fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))

    failed = running.manage("backup", tmp_path / "backup.zip")

    assert failed.returncode == 1
    assert failed.stderr.startswith("CommandError: The database is damaged: ")
    assert not list(tmp_path.glob("*.zip"))
    assert not list(tmp_path.glob(".anonmail-*"))


@pytest.mark.sqlite
def test_a_backup_that_is_killed_leaves_no_file_of_that_name_and_the_next_ones_tidy_up(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    running, _empty = machines
    assert not running.manage("prepare", "--no-first-account").returncode
    place = tmp_path / "backups"
    place.mkdir()
    # It is busy with mail until it is killed.
    (running.var / "mail").mkdir()
    for number in range(40):
        (running.var / "mail" / str(number)).write_bytes(os.urandom(1_000_000))
    process = subprocess.Popen(
        [sys.executable, "manage.py", "backup", str(place / "killed.zip")],
        cwd=BASE,
        env=running.environment,
    )
    _wait_until(lambda: list(place.glob(".anonmail-backup-*/backup.zip")))
    process.kill()
    process.wait()
    shutil.rmtree(running.var / "mail")
    [left_behind] = place.iterdir()
    young = running.manage("backup", place / "first.zip")
    is_kept = left_behind.is_dir()
    yesterday = time.time() - 2 * 24 * 60 * 60
    os.utime(left_behind, (yesterday, yesterday))

    old = running.manage("backup", place / "second.zip")

    assert (young.returncode, old.returncode, is_kept) == (0, 0, True)
    assert sorted(path.name for path in place.iterdir()) == ["first.zip", "second.zip"]


@pytest.mark.postgresql
def test_without_postgresqls_programs_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, db: None
) -> None:
    monkeypatch.setattr(database, "DEBIAN_PROGRAMS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BackupError, match="pg_dump was not found. On Debian and Ubuntu: apt install"):
        database._program("pg_dump")


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_tables_that_an_interrupted_restore_has_put_aside_come_back() -> None:
    User.objects.create(email="me@example.org")
    interrupted = database._tables_aside()
    interrupted.__enter__()
    call_command("migrate", interactive=False, verbosity=0)
    had_data = database.has_data()

    def fail() -> None:
        with database._tables_aside():
            raise BackupError("no space")

    with pytest.raises(BackupError, match="no space"):
        fail()

    assert not had_data
    assert database.has_data()
    assert "accounts_user" in connection.introspection.table_names()
