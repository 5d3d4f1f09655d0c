"""What happened in this process a moment ago."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from core.lately import Lately


def test_a_key_is_known_until_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("core.lately.time", SimpleNamespace(monotonic=lambda: now))
    lately = Lately(timedelta(seconds=10))

    assert 1 not in lately
    lately.note(1)
    now = 109.0
    assert 1 in lately
    lately.note(1)
    now = 118.0
    assert 1 in lately
    assert 2 not in lately
    now = 119.5
    assert 1 not in lately


def test_the_oldest_are_forgotten_if_there_are_too_many() -> None:
    lately = Lately(timedelta(minutes=1), most=3)

    for key in (1, 2, 3, 1, 4, 5):
        lately.note(key)

    assert [key for key in range(6) if key in lately] == [1, 4, 5]
