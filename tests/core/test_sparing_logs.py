"""Warnings about what happens again and again."""

import logging
from types import SimpleNamespace

import pytest

from core import sparing_logs
from core.sparing_logs import warn_sparingly

logger = logging.getLogger("tests")


def test_the_same_trouble_is_logged_once_a_minute_with_how_often_it_was(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(sparing_logs, "time", SimpleNamespace(monotonic=lambda: now))
    for number in range(5):
        warn_sparingly(logger, "alias %s not settled: %s", number, "Full")
    warn_sparingly(logger, "alias %s not settled: %s", 9, "Away")
    now += 61
    warn_sparingly(logger, "alias %s not settled: %s", 7, "Full")
    now += 61
    warn_sparingly(logger, "alias %s not settled: %s", 8, "Full")

    assert [record.getMessage() for record in caplog.records] == [
        "alias 0 not settled: Full",
        "alias 9 not settled: Away",
        "alias 7 not settled: Full (and 4 times more since the last such line)",
        "alias 8 not settled: Full",
    ]
