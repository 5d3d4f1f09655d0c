"""Commands that run in processes of their own, one after the other, whose memory is free again afterwards."""

import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence

from core.supervised import REPORT, SUPERVISOR

logger = logging.getLogger(__name__)

DAILY = ("housekeeping",)
DAY = 24 * 60 * 60
# Seconds until daily tasks that failed are tried again.
RETRY = 60 * 60
# Seconds that a start, or a reload, is left alone.
FIRST = 10
# Seconds that a command has to end when it is told to stop.
PATIENCE = 10


class Chores:
    """Runs the daily tasks soon after it begins and every day, or an hour after they failed; and other
    commands when they are asked for."""

    def __init__(self, settings_module: str) -> None:
        self.settings_module = settings_module
        self._next_day = time.monotonic() + FIRST
        self._waiting: deque[Sequence[str]] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._runs: Sequence[str] = ()

    def ask(self, *command: str) -> None:
        """Run the command soon, once, however often it was asked for meanwhile."""
        if command not in self._waiting:
            self._waiting.append(command)

    def look(self) -> None:
        """See whether the present one has ended, and start the next one."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            if status:
                logger.error("%s ended with status %s", self._runs[0], status)
                if self._runs == DAILY:
                    self._next_day = min(self._next_day, time.monotonic() + RETRY)
            self._process = None
        if time.monotonic() >= self._next_day:
            self._next_day = time.monotonic() + DAY
            self.ask(*DAILY)
        if self._waiting:
            self._start(self._waiting.popleft())

    def close(self) -> None:
        """End the present one, and start none."""
        self._waiting.clear()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self, command: Sequence[str]) -> None:
        environment = {name: value for name, value in os.environ.items() if name != REPORT}
        # It ends with this process.
        environment |= {SUPERVISOR: str(os.getpid()), "DJANGO_SETTINGS_MODULE": self.settings_module}
        self._runs = command
        self._process = subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-m", "django", *command], env=environment, stdout=subprocess.DEVNULL
        )
