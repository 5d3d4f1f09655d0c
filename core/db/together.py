"""The first statements of a transaction, run together: on PostgreSQL, they go there in one message and are
answered in one.

To send a statement and to wait for its answer, while other threads wait for theirs, takes longer than most
statements do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from core.db.statements import Rows, run

Result = TypeVar("Result")


@dataclass(frozen=True)
class Statement(Generic[Result]):
    """A SELECT, or a change with RETURNING, and what its rows come to. `take` may refuse them."""

    sql: str
    params: Sequence[Any]
    take: Callable[[Rows], Result]

    def run(self) -> Result:
        """What it comes to, run by itself."""
        return self.take(run(connections[DEFAULT_DB_ALIAS], self.sql, self.params))


def run_together(*statements: Statement[Any]) -> list[Any]:
    """What each of the statements comes to, in the caller's transaction, which may begin with them.

    Raises what the first one raises that fails or is refused. Those after it may have been run then, so the
    caller lets the transaction be rolled back.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql" or connection.is_watched or not connection.takes_several():
        return [statement.run() for statement in statements]
    found, error = connection.exchange([(statement.sql, statement.params) for statement in statements])
    taken: list[Any] = []
    try:
        taken = [statement.take(rows) for statement, rows in zip(statements, found, strict=False)]
    except DatabaseError:
        # Who takes the rows may have a statement of their own, which the server answers no more.
        if not error:
            raise
    if error:
        with connection.wrap_database_errors:
            raise error
    return taken
