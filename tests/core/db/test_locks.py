"""Processes take turns to write to SQLite."""

import fcntl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from core.db import locks
from core.db.locks import claim, claim_in_turn, write_turn

Other = IO[str]


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Other]:
    """Whose turn it is: a process that writes to the same database in a file."""
    database = SimpleNamespace(
        vendor="sqlite", settings_dict={"NAME": tmp_path / "db"}, is_in_memory_db=lambda: False
    )
    monkeypatch.setattr(locks, "connections", {"default": database})
    with (tmp_path / "db-turn").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def test_who_writes_waits_for_another_process_and_is_waited_for(other: Other) -> None:
    came, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with write_turn():
            came.set()
            assert may_end.wait(20)

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        assert not came.wait(0.2)
        fcntl.flock(other, fcntl.LOCK_UN)
        assert came.wait(20)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        may_end.set()
        writing.result(20)

    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_nobody_waits_for_ever(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "TURN_PATIENCE", timedelta(milliseconds=20))

    with write_turn():
        pass


def test_a_directory_that_cannot_be_written_is_the_databases_concern(
    other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(locks.connections["default"].settings_dict, "NAME", "/proc/none/db")

    with write_turn():
        pass


@pytest.mark.sqlite
def test_who_waits_for_a_claim_gives_up_in_the_end_or_gets_it(other: Other) -> None:
    with pytest.raises(TimeoutError), claim_in_turn("turn", timedelta(milliseconds=50)):
        pass

    threading.Timer(0.3, fcntl.flock, (other, fcntl.LOCK_UN)).start()
    with claim_in_turn("turn", timedelta(seconds=20)), claim("turn") as is_ours:
        assert not is_ours
