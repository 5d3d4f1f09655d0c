"""A timer that is moved: it calls at the last moment that was set, and once."""

import asyncio
from collections.abc import Callable

from mail.delivery.timer import Timer


def called(*moves: Callable[[Timer, float], None]) -> list[float]:
    """How long after the beginning the timer called, with these moves one after the other."""

    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        began, calls = loop.time(), []
        timer = Timer(lambda: calls.append(loop.time() - began))
        for move in moves:
            move(timer, began)
        await asyncio.sleep(0.3)
        return calls

    return asyncio.run(run())


def test_it_calls_at_the_last_moment_that_was_set() -> None:
    (later,) = called(lambda timer, now: timer.set(now + 0.02), lambda timer, now: timer.set(now + 0.15))
    (earlier,) = called(lambda timer, now: timer.set(now + 9), lambda timer, now: timer.set(now + 0.05))

    assert later >= 0.15
    assert 0.05 <= earlier < 9


def test_it_does_not_call_once_it_is_stopped() -> None:
    assert called(lambda timer, now: timer.set(now + 0.05), lambda timer, _now: timer.stop()) == []
    assert called(lambda timer, now: timer.set(now + 0.05), lambda timer, _now: timer.cancel()) == []


def test_it_can_be_set_again_after_it_was_stopped() -> None:
    def stop_and_set(timer: Timer, now: float) -> None:
        timer.stop()
        timer.set(now + 0.1)

    (moment,) = called(lambda timer, now: timer.set(now + 0.05), stop_and_set)

    assert moment >= 0.1
