"""Ends a process when the process that supervises it has ended, in whatever way."""

import os
import signal
from types import FrameType

# In the environment of a supervised process: its supervisor's process id.
SUPERVISOR = "ANONMAIL_SUPERVISOR"
# Seconds between checks.
_EVERY = 0.5


def end_with_supervisor() -> None:
    """From now on, send this process a SIGTERM when its supervisor is gone (killed, for instance).

    Does nothing without a supervisor. Call it in the main thread of a process that does not use SIGALRM;
    forked children do not inherit the check.
    """
    number = os.environ.get(SUPERVISOR, "")
    if not number.isdigit():
        return
    supervisor = int(number)

    def look(signal_number: int, frame: FrameType | None) -> None:
        # An orphan gets another parent at once.
        if os.getppid() != supervisor:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.kill(os.getpid(), signal.SIGTERM)

    # A timer, not a thread: gunicorn and the mail server fork, and a fork should find no other thread.
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _EVERY, _EVERY)
