"""Runs several processes together: if one ends, all stop."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from core.supervised import SUPERVISOR

# Seconds that a process has to finish what it is doing.
STOP_TIMEOUT = 25
_POLL = 0.2


class Supervisor:
    """Starts the given command lines and waits until one ends or this process receives a signal."""

    def __init__(self, commands: Mapping[str, Sequence[str]]) -> None:
        self.commands = commands
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = False

    def run(self) -> str | None:
        """None after SIGINT or SIGTERM, or the name of the process that ended by itself. All have stopped."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        try:
            # The id is passed on, because this process may have ended by the time the others look for it.
            environment = os.environ | {SUPERVISOR: str(os.getpid())}
            for name, command in self.commands.items():
                # In a session of its own, so that Ctrl-C reaches only this process, which stops the others.
                self.running[name] = subprocess.Popen(  # noqa: S603
                    command, start_new_session=True, env=environment
                )
            while not self.stopping:
                for name, process in self.running.items():
                    if process.poll() is not None:
                        return name
                time.sleep(_POLL)
            return None
        finally:
            self._end_all()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _end_all(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in self.running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
