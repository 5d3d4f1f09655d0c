"""Writing together: what fails for one caller, and what for all."""

import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from unittest import mock

import pytest
from django.db import IntegrityError, OperationalError

from core.batch_writer import BatchWriter
from tests.rig.mail_process import is_soon


@pytest.mark.parametrize(("error", "others_are_written"), [(IntegrityError, True), (OperationalError, False)])
def test_one_that_cannot_be_written_fails_alone_unless_the_error_is_common(
    error: type[Exception], others_are_written: bool
) -> None:
    is_writing, may_go_on = threading.Event(), threading.Event()
    written: list[str] = []

    def write_all(items: Sequence[str]) -> None:
        if items == ["first"]:
            is_writing.set()
            may_go_on.wait(20)
        if "bad" in items:
            raise error
        written.extend(items)

    writer = BatchWriter(write_all, is_common=lambda error: isinstance(error, OperationalError))
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(writer.write, "first")
        assert is_writing.wait(20)
        others: dict[str, Future[None]] = {
            item: threads.submit(writer.write, item) for item in ("good", "bad", "fine")
        }
        assert is_soon(lambda: len(writer._waiting) == 3)
        may_go_on.set()

    assert first.exception() is None
    assert isinstance(others["bad"].exception(), error)
    assert sorted(written) == (["fine", "first", "good"] if others_are_written else ["first"])
    for item in ("good", "fine"):
        assert (others[item].exception() is None) is others_are_written


def test_items_with_the_same_key_are_written_one_after_the_other_and_hold_nobody_up() -> None:
    batches: list[list[str]] = []
    writer = BatchWriter(
        lambda items: batches.append(sorted(items)), is_common=bool, key=lambda item: item[0]
    )
    writer._is_busy = True

    with ThreadPoolExecutor(4) as threads:
        written = [threads.submit(writer.write, item) for item in ("a1", "a2", "b1", "c1")]
        assert is_soon(lambda: len(writer._waiting) == 4)
        writer._waiting[0].wake.set()
        for each in written:
            each.result(20)

    assert [len(batch) for batch in batches] == [3, 1]
    assert [item[0] for item in batches[0]] == ["a", "b", "c"]
    assert batches[1] in (["a1"], ["a2"])


def test_a_writer_that_is_interrupted_leaves_the_others_to_write_their_own() -> None:
    written: list[str] = []

    def write_all(items: Sequence[str]) -> None:
        if len(items) > 1:
            raise KeyboardInterrupt
        written.extend(items)

    writer = BatchWriter(write_all, is_common=bool)
    writer._is_busy = True

    with ThreadPoolExecutor(2) as threads:
        results = [threads.submit(writer.write, item) for item in ("one", "two")]
        assert is_soon(lambda: len(writer._waiting) == 2)
        leader = writer._waiting[0]
        leader.wake.set()
        errors = [type(each.exception(20)) for each in results]

    assert sorted(error.__name__ for error in errors) == ["KeyboardInterrupt", "NoneType"]
    assert written == [item for item in ("one", "two") if item != leader.item]


def test_a_common_error_is_one_of_its_own_for_each_caller_with_the_frames_of_that_caller() -> None:
    cause = ValueError("the database is away")

    def write_all(items: Sequence[str]) -> None:
        raise OperationalError("gone") from cause

    writer = BatchWriter(write_all, is_common=lambda error: isinstance(error, OperationalError))
    writer._is_busy = True

    with ThreadPoolExecutor(4) as threads:
        results = [threads.submit(writer.write, item) for item in "abcd"]
        assert is_soon(lambda: len(writer._waiting) == 4)
        writer._waiting[0].wake.set()
        errors = [each.exception(20) for each in results]

    assert len({id(error) for error in errors}) == 4
    for error in errors:
        assert isinstance(error, OperationalError)
        assert (error.args, error.__cause__) == (("gone",), cause)
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert frames.count("write") == 1
        assert frames[-1] == "write_all"


def test_those_that_lose_patience_write_beside_the_one_that_is_held_up_each_item_once() -> None:
    may_go_on = threading.Event()
    batches: list[list[str]] = []

    def write_all(items: Sequence[str]) -> None:
        batches.append(sorted(items))
        if "a1" in items:
            may_go_on.wait(20)

    writer = BatchWriter(
        write_all, is_common=bool, key=lambda item: item[0], patience=timedelta(milliseconds=50)
    )
    with ThreadPoolExecutor(8) as threads:
        held_up = threads.submit(writer.write, "a1")
        assert is_soon(lambda: batches == [["a1"]])
        others = [threads.submit(writer.write, item) for item in ("b1", "b2", "c1", "d1", "a2")]
        try:
            for each in others:
                each.result(10)
            assert not held_up.done()
        finally:
            may_go_on.set()
        held_up.result(10)

    assert sorted(sum(batches, [])) == ["a1", "a2", "b1", "b2", "c1", "d1"]
    assert (writer._waiting, writer._is_busy) == ([], False)


def test_whoever_leads_waits_for_those_that_wrote_or_waited_a_moment_ago() -> None:
    may_go_on = threading.Event()
    batches: list[list[str]] = []

    def write_all(items: Sequence[str]) -> None:
        batches.append(sorted(items))
        if "a" in items:
            may_go_on.wait(20)

    writer = BatchWriter(write_all, is_common=bool, gathering=timedelta(seconds=20))
    with mock.patch("core.batch_writer.FRESH", 20), ThreadPoolExecutor(3) as threads:
        # Nobody has written before: it waits for nobody.
        first = threads.submit(writer.write, "a")
        assert is_soon(lambda: batches == [["a"]])
        second = threads.submit(writer.write, "b")
        assert is_soon(lambda: len(writer._waiting) == 1)
        may_go_on.set()
        first.result(10)
        # There were two of them, and the second one waits for another.
        assert not second.done()
        threads.submit(writer.write, "c").result(10)
        second.result(10)

    assert batches == [["a"], ["b", "c"]]


@pytest.mark.parametrize(("gathering", "fresh"), [(0.05, 20), (20, 0)], ids=["nobody-comes", "long-ago"])
def test_nobody_waits_for_long_for_company_that_does_not_come(gathering: float, fresh: float) -> None:
    batches: list[Sequence[str]] = []
    writer = BatchWriter(batches.append, is_common=bool, gathering=timedelta(seconds=gathering))
    writer._company, writer._ended = 2, time.monotonic()

    with mock.patch("core.batch_writer.FRESH", fresh), ThreadPoolExecutor(1) as threads:
        threads.submit(writer.write, "alone").result(10)

    assert batches == [["alone"]]
    assert writer._company == 1


def test_a_thread_says_before_it_waits_for_another_one() -> None:
    may_go_on = threading.Event()
    said: list[str] = []

    def write_all(items: Sequence[str]) -> None:
        if items == ["first"]:
            may_go_on.wait(20)

    writer = BatchWriter(
        write_all, is_common=bool, before_waiting=lambda: said.append(threading.current_thread().name)
    )
    with ThreadPoolExecutor(1, "leads") as one, ThreadPoolExecutor(1, "waits") as another:
        first = one.submit(writer.write, "first")
        assert is_soon(lambda: writer._is_busy and not writer._waiting)
        second = another.submit(writer.write, "second")
        assert is_soon(lambda: said == ["waits_0"])
        may_go_on.set()
        first.result(10)
        second.result(10)

    assert said == ["waits_0"]
