"""Threads for what would block the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mail.delivery.database import call_with_database

Result = TypeVar("Result")


class Threads:
    """Runs blocking calls in threads, each of which keeps its own database connection."""

    def __init__(self, number: int) -> None:
        self.executor = ThreadPoolExecutor(number, thread_name_prefix="mail")

    async def run(self, function: Callable[..., Result], *args: Any) -> Result:
        """What the call returns or raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, call_with_database, function, *args)

    def close(self) -> None:
        """Take no more calls; a thread that hangs is left behind."""
        self.executor.shutdown(wait=False, cancel_futures=True)
