"""Password hashing with bounded memory.

Argon2 takes 100 MiB for each hash (Django's parameters), and strangers can ask for one.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.contrib.auth import hashers
from django.utils.translation import gettext

from core.exceptions import RuleError

# Seconds that a request waits for its turn.
WAIT_SECONDS = 5


class TooBusy(RuleError, code="too_busy", status=503):
    """More passwords are being checked at the moment than the server can take; seconds later it may."""

    def __init__(self) -> None:
        super().__init__(gettext("Many people are signing in at this moment. Try again in a few seconds."))
        self.retry_after = WAIT_SECONDS


class Turns:
    """Lets `at_once` callers of this process run together, while at most `waiting` wait for their turn."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = threading.Semaphore(at_once)
        self._places = threading.Semaphore(waiting)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Run the block when it is its turn. Raises TooBusy if that takes too long or too many wait."""
        if not self._free.acquire(blocking=False):
            # A waiting caller holds a thread that could answer others.
            if not self._places.acquire(blocking=False):
                raise TooBusy
            try:
                if not self._free.acquire(timeout=WAIT_SECONDS):
                    raise TooBusy
            finally:
                self._places.release()
        try:
            yield
        finally:
            self._free.release()


_turns = Turns(settings.PASSWORD_HASHES_AT_ONCE, max(1, settings.WEB_THREADS // 2))


class Argon2PasswordHasher(hashers.Argon2PasswordHasher):
    """Django's, with a bound on how many run at once: for everything that checks or sets a password."""

    def encode(self, password: str, salt: str) -> str:
        with _turns.turn():
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with _turns.turn():
            return super().verify(password, encoded)
