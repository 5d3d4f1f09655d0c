"""Writing together: what fails for one caller, and what for all."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.db import IntegrityError, OperationalError

from mail.delivery.batches import BatchWriter
from mail.delivery.database import TooLate
from tests.rig.mail_process import is_soon


@pytest.mark.parametrize(
    ("error", "others_are_written"), [(TooLate, True), (IntegrityError, True), (OperationalError, False)]
)
def test_one_that_cannot_be_written_fails_alone_unless_the_database_is_away(
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

    writer = BatchWriter(write_all)
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
