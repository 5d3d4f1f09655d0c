"""The connection of a thread."""

from django.db import connection


def give_connection_back() -> None:
    """Give this thread's connection back to the pool, if there is one, before the thread waits for others
    that need connections too. It gets another one with its next statement.

    Not within a transaction, nor after an error, when the end of the request has to look at it.
    """
    has_pool = getattr(connection, "pool", None) is not None
    if has_pool and not connection.in_atomic_block and not connection.errors_occurred:
        connection.close()
