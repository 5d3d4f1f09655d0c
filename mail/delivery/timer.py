"""A timer that is moved all the time."""

import asyncio
from collections.abc import Callable


class Timer:
    """Calls a function at a moment that may be moved again and again, in one event loop.

    One of asyncio's own would be made anew each time, and would leave a cancelled one behind.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._moment: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def set(self, moment: float) -> None:
        """Call it at this moment, of the loop's time, instead of another one."""
        self._moment = moment
        if self._handle is None or moment < self._handle.when():
            self._wake_at(moment)

    def stop(self) -> None:
        """Do not call it, until another moment is set."""
        self._moment = None

    def cancel(self) -> None:
        """The same for good: the loop lets go of the function."""
        self._moment = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _wake_at(self, moment: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(moment, self._check)

    def _check(self) -> None:
        self._handle = None
        if self._moment is None:
            return
        if self._moment > self._loop.time():
            self._wake_at(self._moment)
            return
        self._moment = None
        self._function()
