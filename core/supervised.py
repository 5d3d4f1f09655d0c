"""What a process owes its supervisor: to say that it serves, and to end when the supervisor has ended."""

import atexit
import os
import select
import signal
from contextlib import suppress
from types import FrameType

# In the environment of a supervised process: its supervisor's process id.
SUPERVISOR = "ANONMAIL_SUPERVISOR"
# The same: the file descriptor of a pipe to it.
REPORT = "ANONMAIL_REPORT"
# The same: the file descriptor of a pipe whose other end the supervisor closes when it is about to stop.
STAYING = "ANONMAIL_STAYING"
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
    # Python gives the signal back its default, which is to kill, before it has cleaned up.
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)


def report_serving() -> None:
    """Tell the supervisor that this process serves, so that the one that it replaces can stop."""
    if number := os.environ.get(REPORT):
        # A second worker may have nobody to tell.
        with suppress(OSError):
            os.write(int(number), b"serving")


def is_stopping() -> bool:
    """Whether the supervisor is about to stop this process, or has ended. Costs one system call.

    False without a supervisor.
    """
    number = os.environ.get(STAYING, "")
    if not number.isdigit():
        return False
    poll = select.poll()
    poll.register(int(number), select.POLLIN)
    # Nothing is ever written into this pipe.
    return bool(poll.poll(0))
