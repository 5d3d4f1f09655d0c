"""A process that another one of ours looks after ends with it, however that one ended."""

import os
import signal
from types import FrameType

# In the environment of a process that is looked after: the id of the one that does.
SUPERVISOR = "ANONMAIL_SUPERVISOR"
# Seconds between two looks.
_EVERY = 0.5


def end_with_supervisor() -> None:
    """From now on, send this process a SIGTERM when its supervisor is gone (killed, for instance).

    Nothing happens where nobody looks after it. For the main thread of a process that has a use for
    SIGALRM nowhere else; children that it forks do not watch by this.
    """
    number = os.environ.get(SUPERVISOR, "")
    if not number.isdigit():
        return
    supervisor = int(number)

    def look(signal_number: int, frame: FrameType | None) -> None:
        # Orphans get another parent at once.
        if os.getppid() != supervisor:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.kill(os.getpid(), signal.SIGTERM)

    # A timer, not a thread: gunicorn and the mail server fork, and a fork should find no other thread.
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _EVERY, _EVERY)
