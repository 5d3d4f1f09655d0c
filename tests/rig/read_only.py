"""The test's database while it takes no changes, as a replica is, or a primary that is being replaced."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def read_only() -> Iterator[None]:
    """Refuse every change that this thread's connection tries, and undo nothing else."""
    is_sqlite = connection.vendor == "sqlite"
    with transaction.atomic():
        driver = connection.connection
        driver.execute("PRAGMA query_only = ON" if is_sqlite else "SET TRANSACTION READ ONLY")
        try:
            yield
        finally:
            if is_sqlite:
                driver.execute("PRAGMA query_only = OFF")
            # On PostgreSQL it ends with this savepoint, and so does what was refused.
            transaction.set_rollback(True)
