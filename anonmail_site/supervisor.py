"""Runs several processes as one: they stop together, and none dies unnoticed."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from core.parent import SUPERVISOR

# Seconds that a process gets to finish what it is doing.
STOP_TIMEOUT = 25
_POLL = 0.2


class Supervisor:
    """Starts the given command lines and waits until one ends or this process is told to stop."""

    def __init__(self, commands: Mapping[str, Sequence[str]]) -> None:
        self.commands = commands
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = False

    def run(self) -> str | None:
        """Run until SIGINT or SIGTERM: None. If a process ends by itself, stop the rest: its name."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        try:
            # Whoever starts knows whom to watch: it may be gone by the time they look.
            environment = os.environ | {SUPERVISOR: str(os.getpid())}
            for name, command in self.commands.items():
                # A session of its own: Ctrl-C reaches this process alone, which stops the others in peace.
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
