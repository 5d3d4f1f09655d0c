"""Sums for monitoring: gathered in memory, added up in the database by all processes."""

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from django.db import DatabaseError, OperationalError
from pytest_django import Settings

from core import tallies
from core.tallies import Count, Metric, Moment, Sums, Tally, Times

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def started(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """The threads that would have been started to write."""
    settings.METRICS_TOKEN = "t" * 32
    found: list[Callable[[], None]] = []
    monkeypatch.setattr(tallies, "start", found.append)
    monkeypatch.setattr(tallies, "_sums", Sums())
    monkeypatch.setattr(Metric, "known", {})
    return found


def rows() -> dict[tuple[str, tuple[str, ...], str], float]:
    return {(row.name, row.label_values, row.bucket): row.value for row in Tally.objects.all()}


def test_what_processes_count_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = Count("letters", "Letters", "kind", "colour")
    one, other = Sums(), Sums()

    for sums, number in ((one, 2), (other, 3), (one, 5)):
        monkeypatch.setattr(tallies, "_sums", sums)
        letters.add("short", "red", number=number)
        letters.add("long", 'blue, or \\ "green"')
        sums.write()

    assert rows() == {
        ("letters", ("short", "red"), ""): 10,
        ("letters", ("long", 'blue, or \\ "green"'), ""): 3,
    }


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, "0.005"), (0.005, "0.005"), (0.0051, "0.01"), (60, "60.0"), (60.1, "+Inf"), (1e9, "+Inf")],
)
def test_a_time_is_in_the_first_bucket_that_holds_it(seconds: float, bucket: str) -> None:
    Times("walk", "Walks").observe(seconds)
    tallies._sums.write()

    assert rows() == {("walk", (), ""): seconds, ("walk", (), bucket): 1}


def test_one_thread_writes_for_all_that_is_counted_meanwhile(started: list[Callable[[], None]]) -> None:
    letters = Count("letters", "Letters")

    for _ in range(3):
        letters.add()

    assert len(started) == 1
    assert rows() == {}


def test_the_thread_ends_when_nothing_more_is_counted(
    started: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = Count("letters", "Letters")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            letters.add()

    monkeypatch.setattr("core.tallies.time", SimpleNamespace(sleep=sleep, time=time.time))
    monkeypatch.setattr("core.tallies.connections.close_all", lambda: None)
    monkeypatch.setattr("core.tallies.close_old_connections", lambda: None)
    monkeypatch.setattr("core.tallies.atexit.register", lambda last: None)
    letters.add()
    started[0]()
    letters.add()

    assert slept == [tallies.EVERY]
    assert rows() == {("letters", (), ""): 2}
    assert len(started) == 2


def test_what_cannot_be_written_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = Count("letters", "Letters")
    letters.add(number=2)

    def refuse(sums: object) -> None:
        letters.add()
        raise OperationalError("away")

    with monkeypatch.context() as broken:
        broken.setattr(tallies, "_write", refuse)
        with pytest.raises(DatabaseError):
            tallies._sums.write()
    tallies._sums.write()

    assert rows() == {("letters", (), ""): 3}


def test_nothing_is_counted_without_a_token(settings: Settings, started: list[Callable[[], None]]) -> None:
    settings.METRICS_TOKEN = ""

    Count("letters", "Letters").add()
    Times("walk", "Walks").observe(1)
    tallies._sums.write()

    assert rows() == {}
    assert not started


def test_a_moment_is_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Moment("tidying", "Tidying")

    for now in (1000.4, 2000.6):
        monkeypatch.setattr("core.tallies.time.time", lambda now=now: now)
        done.is_now()

    assert rows() == {("tidying", (), ""): 2001}
