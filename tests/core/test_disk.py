"""Files that are written whole or not at all."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.disk import write_new, write_over
from tests.rig.faults import FullDisk, full, small_disk


@pytest.fixture
def disk() -> Iterator[Path]:
    try:
        with small_disk(1) as path:
            yield path
    except FullDisk as reason:
        pytest.skip(str(reason))


def test_a_file_is_private_whatever_the_mask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_new(tmp_path / "new", "text")
        (tmp_path / "old").write_text("earlier")
        write_over(tmp_path / "old", "text")
    finally:
        os.umask(before)

    for path in tmp_path.iterdir():
        assert path.read_text() == "text"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_a_new_file_replaces_an_empty_one_alone(tmp_path: Path) -> None:
    empty, full_one = tmp_path / "empty", tmp_path / "full"
    empty.touch()
    full_one.write_text("kept")
    (tmp_path / "link").symlink_to("nowhere")

    write_new(empty, "text")
    for name in ("full", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, "text")

    assert (empty.read_text(), full_one.read_text()) == ("text", "kept")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "link"]


@pytest.mark.parametrize("write", [write_new, write_over])
def test_on_a_full_disk_what_was_there_is_there(disk: Path, write: object) -> None:
    kept = disk / "kept"
    kept.write_text("kept")

    with full(disk), pytest.raises(OSError, match="No space left"):
        write(kept, "x" * 10_000)  # type: ignore[operator]

    assert kept.read_text() == "kept"
    assert [path.name for path in disk.iterdir()] == ["kept"]
