"""Single SQL statements past Django's cursors, unless somebody watches them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

Rows = list[tuple[Any, ...]]
# Where a connection keeps the statements that are to be sent together.
_GATHERED = "_anonmail_gathered"


def run(connection: Any, sql: str, params: Sequence[Any]) -> Rows:
    """The rows that a statement returns: a SELECT, or a change with RETURNING."""
    if connection.is_watched:
        with connection.cursor() as watched:
            watched.execute(sql, params)
            rows: Rows = watched.fetchall()
        return rows
    return connection.run(sql, params)  # type: ignore[no-any-return]


def execute(connection: Any, sql: str, params: Sequence[Any] | None = None) -> None:
    """Run a statement that returns nothing; at the end of a `pipelined` block, if it is in one."""
    gathered: list[Any] | None = getattr(connection, _GATHERED, None)
    if gathered is not None:
        gathered.append((sql, params or ()))
    elif connection.is_watched:
        with connection.cursor() as watched:
            watched.execute(sql, params)
    else:
        connection.execute(sql, params)


@contextmanager
def pipelined() -> Iterator[None]:
    """Send what the block runs by `execute` to PostgreSQL together, at the block's end, where what fails is
    raised."""
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        yield
        return
    if connection.takes_several() and not connection.is_watched:
        with _exchanged(connection):
            yield
        return
    # Django's own errors, as outside of a pipeline.
    with connection.wrap_database_errors, connection.connection.pipeline() as pipeline:
        _send_together(pipeline)
        yield


@contextmanager
def _exchanged(connection: Any) -> Iterator[None]:
    """Begin the transaction with the block's statements, in one message."""
    gathered: list[tuple[str, Sequence[Any]]] = []
    setattr(connection, _GATHERED, gathered)
    try:
        yield
    finally:
        delattr(connection, _GATHERED)
    if not gathered:
        return
    _rows, error = connection.exchange(gathered)
    if error:
        with connection.wrap_database_errors:
            raise error


def _send_together(pipeline: Any) -> None:
    """Let the driver gather a pipeline's statements. It would send each by itself, and the server would be
    woken for each."""
    commands = pipeline.command_queue

    def gather() -> Iterator[int]:
        while commands:
            # libpq keeps it until the pipeline's end, or until there are 64 KiB.
            commands.popleft()()
        yield from ()

    pipeline._communicate_gen = gather
