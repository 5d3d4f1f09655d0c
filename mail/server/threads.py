"""Threads for what would block the event loop: the database and the next hop."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mail.delivery.database import TooLate, call_with_database

Result = TypeVar("Result")

# Seconds within which a question to the database is answered, or is answered with "try later": what
# waits for a hung database behind Postfix holds up everything that Postfix does.
LOOKUP_TIMEOUT = 3.0


class Threads:
    """Runs blocking calls in threads, each of which keeps its own database connection."""

    def __init__(self, number: int) -> None:
        self.executor = ThreadPoolExecutor(number, thread_name_prefix="mail")

    async def run(self, function: Callable[..., Result], *args: Any) -> Result:
        """What the call returns or raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, call_with_database, function, *args)

    async def look_up(self, function: Callable[..., Result], *args: Any) -> Result:
        """The same for a question to the database, with a deadline as its last argument.

        Raises TooLate after LOOKUP_TIMEOUT; the call itself sees the deadline, and undoes what comes late.
        """
        deadline = time.monotonic() + LOOKUP_TIMEOUT
        try:
            return await asyncio.wait_for(self.run(function, *args, deadline), LOOKUP_TIMEOUT)
        except TimeoutError as error:
            raise TooLate from error

    def close(self) -> None:
        """Take no more calls; a thread that hangs is left behind."""
        self.executor.shutdown(wait=False, cancel_futures=True)
