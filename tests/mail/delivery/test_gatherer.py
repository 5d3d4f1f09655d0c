"""Gatherers: everybody's answer, at once where they can be; what fails for one, and what for all."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError
from hypothesis import given
from hypothesis import strategies as st

from mail.delivery.database import TooLate
from mail.delivery.gatherer import Gatherer
from tests.rig.mail_doors import closed_after


class Database:
    """What the thread does: it can be held up, and remembers what it was asked at once."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.is_answering = threading.Event()
        self.batches: list[list[Any]] = []
        self.errors: dict[Any, Exception] = {}

    def answer_all(self, items: Sequence[Any]) -> list[Any]:
        self.is_answering.set()
        self.may_answer.wait(20)
        self.batches.append(list(items))
        for item in items:
            if error := self.errors.get(item):
                raise error
        return [("answer", item) for item in items]


def with_gatherer(
    database: Database, use: Callable[[Gatherer[Any, Any]], Awaitable[Any]], patience: float = 0
) -> Any:
    """What `use` returns, in a loop."""

    async def main() -> Any:
        with closed_after(Gatherer("test", database.answer_all, patience)) as (gatherer,):
            return await use(gatherer)

    return asyncio.run(main())


async def ask_all(gatherer: Gatherer[Any, Any], items: Sequence[Any]) -> list[Any]:
    return await asyncio.gather(*(gatherer.ask(item) for item in items), return_exceptions=True)


def test_a_thousand_ask_at_once_and_each_gets_its_own_answer() -> None:
    database = Database()

    answers = with_gatherer(database, lambda gatherer: ask_all(gatherer, range(1000)))

    assert answers == [("answer", number) for number in range(1000)]
    assert len(database.batches) == 1


async def ask_behind_another(gatherer: Gatherer[Any, Any], database: Database, items: Sequence[Any]) -> Any:
    """The answers to items that come while the thread is busy with another."""
    database.may_answer.clear()
    first = asyncio.ensure_future(gatherer.ask("first"))
    await asyncio.to_thread(database.is_answering.wait, 20)
    others = asyncio.ensure_future(ask_all(gatherer, items))
    await asyncio.sleep(0.01)
    database.may_answer.set()
    assert await first == ("answer", "first")
    return await others


def test_who_comes_meanwhile_is_answered_together_in_the_order_of_asking() -> None:
    database = Database()

    with_gatherer(database, lambda gatherer: ask_behind_another(gatherer, database, "abc"))

    assert database.batches == [["first"], ["a", "b", "c"]]


def test_those_who_are_answered_together_can_ask_together_again() -> None:
    database = Database()

    async def ask_twice(gatherer: Gatherer[Any, Any], number: int) -> None:
        await gatherer.ask(number)
        await gatherer.ask(number)

    async def use(gatherer: Gatherer[Any, Any]) -> None:
        await asyncio.gather(*(ask_twice(gatherer, number) for number in range(20)))

    with_gatherer(database, use)

    assert database.batches == [list(range(20))] * 2


@pytest.mark.parametrize(
    ("error", "is_for_all"), [(TooLate(), False), (IntegrityError(), False), (OperationalError(), True)]
)
def test_one_that_cannot_be_answered_fails_alone_unless_the_database_is_away(
    error: Exception, is_for_all: bool
) -> None:
    database = Database()
    database.errors = {"bad": error}
    items = ["good", "bad", "fine"]

    answers = with_gatherer(database, lambda gatherer: ask_behind_another(gatherer, database, items))

    good, fine = ("answer", "good"), ("answer", "fine")
    assert answers == ([error] * 3 if is_for_all else [good, error, fine])
    assert len(database.batches) == (2 if is_for_all else 5)


@given(st.lists(st.booleans(), max_size=12))
def test_any_number_of_bad_items_hurts_no_other(are_bad: list[bool]) -> None:
    database = Database()
    database.errors = {number: ValueError() for number, is_bad in enumerate(are_bad) if is_bad}

    answers = with_gatherer(database, lambda gatherer: ask_all(gatherer, range(len(are_bad))))

    assert [isinstance(answer, ValueError) for answer in answers] == are_bad


def test_nobody_waits_for_a_database_that_hangs_longer_than_its_deadline() -> None:
    database = Database()

    async def use(gatherer: Gatherer[Any, Any]) -> list[Any]:
        database.may_answer.clear()
        began = time.monotonic()
        hung = [gatherer.ask(number, began + 0.3) for number in range(3)]
        answers = await asyncio.gather(*hung, return_exceptions=True)
        assert time.monotonic() - began < 10
        late = asyncio.ensure_future(gatherer.ask("given up"))
        await asyncio.sleep(0)
        late.cancel()
        database.may_answer.set()
        return [*answers, await gatherer.ask("after")]

    answers = with_gatherer(database, use)

    assert [type(answer) for answer in answers[:3]] == [TooLate] * 3
    assert answers[3] == ("answer", "after")
    # What nobody waits for any more is not done.
    assert Counter(item for batch in database.batches for item in batch)["given up"] == 0


def test_closing_answers_what_was_asked() -> None:
    database = Database()

    async def use(gatherer: Gatherer[Any, Any]) -> list[Any]:
        database.may_answer.clear()
        asked = asyncio.ensure_future(ask_all(gatherer, range(5)))
        await asyncio.to_thread(database.is_answering.wait, 20)
        more = asyncio.ensure_future(ask_all(gatherer, range(5, 10)))
        await asyncio.sleep(0.01)
        gatherer.close()
        database.may_answer.set()
        return await asked + await more

    assert with_gatherer(database, use) == [("answer", number) for number in range(10)]


def test_who_is_expected_is_waited_for_but_not_for_long() -> None:
    database, waiting = Database(), Database()

    async def come(gatherer: Gatherer[Any, Any], item: str, after: Awaitable[Any]) -> None:
        with gatherer.expected:
            await after
            await gatherer.ask(item)

    async def wait(gatherer: Gatherer[Any, Any]) -> None:
        early, late = asyncio.sleep(0), asyncio.sleep(0.1)
        await asyncio.gather(come(gatherer, "early", early), come(gatherer, "late", late))
        await come(gatherer, "alone", asyncio.sleep(0))

    async def wait_in_vain(gatherer: Gatherer[Any, Any]) -> None:
        in_time = asyncio.ensure_future(come(gatherer, "in time", asyncio.sleep(0)))
        await come(gatherer, "too late", asyncio.shield(in_time))

    began = time.monotonic()
    with_gatherer(database, wait, patience=60)
    assert time.monotonic() - began < 30
    with_gatherer(waiting, wait_in_vain, patience=0.5)

    assert database.batches == [["early", "late"], ["alone"]]
    assert waiting.batches == [["in time"], ["too late"]]


def test_nobody_waits_for_one_who_is_no_longer_expected() -> None:
    async def use(gatherer: Gatherer[Any, Any]) -> list[Any]:
        async def leave() -> None:
            with gatherer.expected:
                await asyncio.sleep(0.05)

        async def come() -> Any:
            with gatherer.expected:
                return await gatherer.ask("x")

        return await asyncio.gather(come(), leave())

    # Longer than its deadline.
    assert with_gatherer(Database(), use, patience=1000) == [("answer", "x"), None]


def test_an_answer_too_few_is_an_error_for_everybody_and_the_thread_goes_on() -> None:
    database = Database()

    async def main() -> list[Any]:
        with closed_after(Gatherer("test", lambda items: database.answer_all(items)[1:])) as (gatherer,):
            return [await ask_all(gatherer, "ab"), await ask_all(gatherer, "c")]

    first, second = asyncio.run(main())

    assert [type(answer) for answer in [*first, *second]] == [ValueError] * 3


def test_an_sqlite_database_that_is_locked_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    locked, tries = OperationalError(), []
    monkeypatch.setattr("mail.delivery.gatherer.is_locked", lambda error: error is locked)

    def answer_all(items: Sequence[str]) -> Sequence[str]:
        tries.append(items)
        if len(tries) < 3:
            raise locked
        return items

    async def main() -> str:
        with closed_after(Gatherer("test", answer_all)) as (gatherer,):
            return str(await gatherer.ask("x"))

    assert asyncio.run(main()) == "x"
    assert len(tries) == 3
