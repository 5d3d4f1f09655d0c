"""`manage.py prepare` where the disk is full or files are another user's: one sentence, and no harm done."""

import filecmp
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.anonmail_site.test_environment import NOBODY, without_privileges
from tests.anonmail_site.test_start import BASE, environment
from tests.conftest import missing

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


def manage(place: Path, command: str, *prefix: str) -> "subprocess.CompletedProcess[str]":
    """The command with a VAR_DIR in the place."""
    key = {} if command in {"prepare", "new_secret_key"} else {"SECRET_KEY": "x" * 50}
    return subprocess.run(
        [*prefix, sys.executable, "manage.py", command],
        cwd=BASE,
        env=environment(place, 8000) | key,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


SCRIPT = """
mount -t tmpfs -o size={size}k tmpfs {place} || exit 77
if [ {size} = 64 ]; then dd if=/dev/zero of={place}/rest bs=1k 2>/dev/null; fi
{prepare} >{place}.full 2>&1 && exit 78
rm -f {place}/rest
mount -o remount,size=200m {place} || exit 79
{prepare} >{place}.enough 2>&1 || exit 80
cp -a {place}/var/static {place}.static
"""


# So many kibibytes are enough for nothing, for the key, for the database too.
@pytest.mark.parametrize(
    ("size", "reason"),
    [(64, "No space left on device."), (512, "is full"), (5000, "No space left on device.")],
)
def test_a_full_disk_is_one_sentence_and_later_all_is_well(tmp_path: Path, size: int, reason: str) -> None:
    unshare = shutil.which("unshare") or missing("unshare")
    place = tmp_path / "disk"
    place.mkdir()
    line = shlex.join([sys.executable, "manage.py", "prepare"])
    script = SCRIPT.format(size=size, place=place, prepare=line)
    # A file system of its own that ends with the script.
    command = [str(unshare), "--mount", "--map-root-user", "sh", "-c", script]

    ran = subprocess.run(
        command,
        cwd=BASE,
        env=environment(place, 8000),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    if ran.returncode == 77:
        missing("a kernel that lets this user mount a tmpfs")
    assert ran.returncode == 0, ran
    full = (tmp_path / "disk.full").read_text()
    assert full.startswith("CommandError: "), full
    assert reason in full
    assert len(full.splitlines()) == 1
    assert "Password" in (tmp_path / "disk.enough").read_text()
    # No half of a file is left from the first try.
    static = tmp_path / "disk.static"
    for name in ("site.css", "site.js"):
        for source in (BASE / "static").rglob(name):
            assert filecmp.cmp(source, static / source.relative_to(BASE / "static"), shallow=False)
    assert all(file.stat().st_size for file in static.rglob("*.css"))


@needs_root
def test_static_files_of_another_user_are_one_sentence(tmp_path: Path) -> None:
    static = tmp_path / "var" / "static"
    static.mkdir(parents=True)
    os.chown(static, NOBODY, NOBODY)

    ran = manage(tmp_path, "prepare", *without_privileges())

    assert ran.returncode == 1
    assert ran.stderr.startswith(f"CommandError: {static}/")
    assert f"Permission denied. {static} belongs to nobody, and this process runs as root." in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)

    ran = manage(tmp_path, "prepare", *without_privileges())

    assert ran.stderr.strip() == f"CommandError: {tmp_path}/var: Permission denied."


@needs_root
@pytest.mark.parametrize("command", ["prepare", "serve", "runall", "new_secret_key"])
def test_root_does_not_lock_out_the_user_whose_installation_it_is(tmp_path: Path, command: str) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)

    ran = manage(tmp_path, command)

    assert ran.returncode == 1
    assert f"{tmp_path} belongs to nobody, who could not use what root creates there." in ran.stderr
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_root_is_warned_at_other_commands(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)

    ran = manage(tmp_path, "check")

    assert "(anonmail.W005) This is root." in ran.stderr
    assert "sudo -u nobody" in ran.stderr


@needs_root
def test_root_is_not_sent_away_from_what_is_roots_to_run(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)

    ran = manage(tmp_path, "postfix_config")

    assert ran.stderr == "CommandError: Name fresh or existing, or a server with --for.\n"


def test_an_empty_key_is_replaced_and_another_one_kept(tmp_path: Path) -> None:
    key = tmp_path / "var" / "secret_key"
    key.parent.mkdir()
    key.touch()

    first = manage(tmp_path, "prepare")
    written = key.read_text()
    second = manage(tmp_path, "prepare")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert len(written.strip()) == 100
    assert key.read_text() == written
    assert sorted(path.name for path in key.parent.glob("secret_key*")) == ["secret_key"]
