"""The database as the mail servers use it: over connections that work, within time limits."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import OperationalError, connections

from core.db.availability import UNAVAILABLE

Result = TypeVar("Result")

# Seconds that a write waits for somebody else's lock.
WRITE_TIMEOUT = 3.0


class TooLate(OperationalError):
    """The call took longer than its caller waits: undo it, the caller has said "try later"."""


def refuse_late(deadline: float | None) -> None:
    """Raise TooLate if this moment of time.monotonic() is over."""
    if deadline is not None and time.monotonic() > deadline:
        raise TooLate


def call_with_database(function: Callable[..., Result], *args: Any) -> Result:
    """What the function returns, run in this thread over a connection that is not known to be broken."""
    own: Any = connections["default"]
    is_postgresql = own.vendor == "postgresql"
    if own.connection and (own.errors_occurred or (is_postgresql and own.has_ended())):
        own.close()
    try:
        return function(*args)
    except UNAVAILABLE:
        # One that takes no changes may be a replica's; a new connection may find the primary.
        own.close()
        raise
    finally:
        # From a pool (tests have one), a connection is borrowed.
        if getattr(own, "pool", None):
            own.close()
