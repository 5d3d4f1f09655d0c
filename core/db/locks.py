"""Waiting for rows that other transactions have locked."""

from datetime import timedelta

from django.db import OperationalError, connection

# PostgreSQL's SQLSTATEs (Appendix A): lock_not_available, deadlock_detected.
_WAITED_IN_VAIN = {"55P03", "40P01"}


def limit_lock_wait(limit: timedelta) -> None:
    """Let each statement of this transaction wait that long for others' locks on PostgreSQL; it then raises
    OperationalError. SQLite has one lock, which it takes before."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {round(limit.total_seconds() * 1000)}")


def has_waited_in_vain(error: Exception) -> bool:
    """Whether PostgreSQL ended the transaction because of others' locks, and not for want of a database."""
    return isinstance(error, OperationalError) and getattr(error.__cause__, "sqlstate", "") in _WAITED_IN_VAIN
