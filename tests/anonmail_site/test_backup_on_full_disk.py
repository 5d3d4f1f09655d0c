"""Backups and restores on a disk that becomes full, at any moment: nothing is left of the one, and the other
costs neither the present key nor any data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig.faults import FullDisk, small_disk

BASE = Path(__file__).resolve().parents[2]
PRESENT, OTHER = "k" * 60, "z" * 60
# Octets that are free, from none to more than enough.
ROOMS = (0, 1000, 4096, 16_384, 131_072, 500_000, 600_000, 700_000, 900_000, 1_200_000, 4_000_000)
# In one process, which has the disk's path, another directory's and the rooms. It says what happened.
SCRIPT = """
import os, shutil, sys, zipfile
from pathlib import Path
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from accounts.models import User
from anonmail_site.backup import restoring
from anonmail_site.backup.archive import BackupError, read_backup
from anonmail_site.backup.making import make_backup
disk, elsewhere, rooms = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
key = disk / "var" / "secret_key"
call_command("migrate", verbosity=0, interactive=False)
User.objects.create_user("me@example.org")
good = make_backup(elsewhere / "good.zip")
with zipfile.ZipFile(good.path) as old, zipfile.ZipFile(elsewhere / "other.zip", "w") as new:
    for name in old.namelist():
        new.writestr(name, "OTHER" if name == "secret_key" else old.read(name))
other = read_backup(elsewhere / "other.zip")
for octets in map(int, rooms):
    key.write_text("PRESENT")
    before = set(disk.rglob("*"))
    with (disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(disk).free - octets))
    try:
        make_backup(disk / "backup.zip").path.unlink()
        said = ["made"]
    except BackupError as error:
        said = ["refused"]
    left = {path.name for path in set(disk.rglob("*")) - before}
    assert left <= {"ballast", "anonmail.sqlite3-wal", "anonmail.sqlite3-shm"}, left
    try:
        said.append(str(restoring.settle_secret_key(other)))
    except BackupError:
        said.append("refused")
        assert key.read_text() == "PRESENT"
    assert "PRESENT" in key.read_text()
    try:
        restoring.restore(good)
        said.append("restored")
    except (BackupError, OSError):
        said.append("refused")
    (disk / "ballast").unlink()
    assert User.objects.get().email == "me@example.org"
    assert not list((disk / "var").glob(".*")), list((disk / "var").glob(".*"))
    print(*said)
connection.close()
"""


@pytest.mark.sqlite
def test_nothing_is_left_and_nothing_is_lost(tmp_path: Path) -> None:
    script = SCRIPT.replace("PRESENT", PRESENT).replace("OTHER", OTHER)
    try:
        with small_disk(16) as disk:
            (disk / "var").mkdir(mode=0o700)
            (disk / "var" / "secret_key").write_text(PRESENT)
            env = {
                "PATH": os.environ["PATH"],
                "ENV_FILE": "",
                "VAR_DIR": str(disk / "var"),
                "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
            }
            done = subprocess.run(
                [sys.executable, "-c", script, disk, tmp_path, *map(str, ROOMS)],
                cwd=BASE,
                env=env,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
    except FullDisk as reason:
        pytest.skip(str(reason))

    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    assert said[0] == ["refused"] * 3
    assert said[-1] == ["made", "True", "restored"]
    assert len(said) == len(ROOMS)
