"""Warnings about what happens again and again, such as a database that is away: one now and then."""

import logging
import threading
import time
from datetime import timedelta

EVERY = timedelta(minutes=1)

# By logger, message and error: when the next one may be logged, and how many were not since the last one.
_held: dict[tuple[str, str, object], tuple[float, int]] = {}
_lock = threading.Lock()


def warn_sparingly(logger: logging.Logger, message: str, *args: object) -> None:
    """Log the warning, unless this process has logged the same message with the same last argument, which is
    the kind of error, within a minute; the next one then says how many there were in between."""
    key, now = (logger.name, message, args[-1]), time.monotonic()
    with _lock:
        due, left_out = _held.get(key, (0.0, 0))
        if now < due:
            _held[key] = due, left_out + 1
            return
        _held[key] = now + EVERY.total_seconds(), 0
    if left_out:
        logger.warning(f"{message} (and %d times more since the last such line)", *args, left_out)
    else:
        logger.warning(message, *args)


def forget() -> None:
    """Log each of them again at once; for tests."""
    with _lock:
        _held.clear()
