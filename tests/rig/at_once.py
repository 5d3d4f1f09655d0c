"""Deeds at the same moment, each in a thread with a connection of its own."""

import threading
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import connections

from aliases.models import Alias

Result = TypeVar("Result")


def all_at_once(deeds: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each deed returned, or the exception's class it raised; every one in a thread of its own,
    which waits for the others before it begins."""
    start = threading.Barrier(len(deeds))

    def run(deed: Callable[[], Any]) -> Any:
        try:
            start.wait(30)
            return and_disconnect(deed)
        except Exception as error:
            return type(error).__name__, str(error)

    with ThreadPoolExecutor(len(deeds)) as threads:
        return list(threads.map(run, deeds))


def and_disconnect(deed: Callable[[], Result]) -> Result:
    """What the deed returns, run in a thread whose connections are closed then."""
    try:
        return deed()
    finally:
        connections.close_all()


def outcomes(results: Sequence[Any]) -> Tally[str]:
    """How many made an alias, and how many were refused by which class."""
    return Tally("alias" if isinstance(result, Alias) else result[0] for result in results)
