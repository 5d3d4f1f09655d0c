"""What is noted is written together and later. That it waits for SQLite's lock: test_slow_clients.py."""

from collections.abc import Callable

import pytest

from core import late_writes
from core.late_writes import LateWriter


def test_what_is_noted_in_a_moment_is_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Callable[[], None]] = []
    monkeypatch.setattr(late_writes, "start", started.append)
    written: list[set[int]] = []
    writer = LateWriter(written.append)

    for number in (1, 2, 1):
        writer.note(number)
    (first,) = started
    first()
    writer.note(3)
    started[1]()

    assert written == [{1, 2}, {3}]
