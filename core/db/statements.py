"""Single SQL statements over cursors that are kept."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

Rows = list[tuple[Any, ...]]
# Where a connection keeps the statements that are to be sent together.
_GATHERED = "_anonmail_gathered"


def run(connection: Any, sql: str, params: Sequence[Any]) -> Rows:
    """The rows that a statement returns: a SELECT, or a change with RETURNING.

    A cursor is kept for each statement, as making one costs more than using it.
    """
    if is_watched(connection):
        with connection.cursor() as watched:
            watched.execute(sql, params)
            rows: Rows = watched.fetchall()
        return rows
    if connection.vendor == "postgresql" and connection.stands_alone():
        rows = connection.run_alone(sql, params)
        return rows
    with connection.wrap_database_errors:
        cursor, own_sql = _kept_cursor(connection, sql)
        cursor.execute(own_sql, params)
        rows = cursor.fetchall()
    return rows


def execute(connection: Any, sql: str, params: Sequence[Any] | None = None) -> None:
    """Run a statement that returns nothing, over a cursor that is kept too; or at the end of a `pipelined`
    block."""
    gathered: list[Any] | None = getattr(connection, _GATHERED, None)
    if gathered is not None:
        gathered.append((sql, params or ()))
        return
    if is_watched(connection):
        with connection.cursor() as watched:
            watched.execute(sql, params)
        return
    with connection.wrap_database_errors:
        cursor, own_sql = _kept_cursor(connection, sql)
        cursor.execute(own_sql, params)


def is_watched(connection: Any) -> bool:
    """Whether somebody wants to see the statements, which Django's own cursors show them."""
    return bool(connection.execute_wrappers or connection.queries_logged)


def _kept_cursor(connection: Any, sql: str) -> tuple[Any, str]:
    """The cursor for this statement, and the statement as it takes it."""
    if connection.connection is None:
        connection.ensure_connection()
    if connection.needs_rollback:
        connection.validate_no_broken_transaction()
    cursors = _kept_cursors(connection)
    if sql not in cursors:
        cursors[sql] = _new_cursor(connection, sql)
    return cursors[sql]


def _new_cursor(connection: Any, sql: str) -> tuple[Any, str]:
    """A cursor, and the statement with the driver's marks: Django's for SQLite replaces them each time."""
    cursor = connection.create_cursor()
    if connection.vendor == "sqlite":
        return connection.connection.cursor(), cursor.convert_query(sql)
    return cursor, sql


def _kept_cursors(connection: Any) -> dict[str, tuple[Any, str]]:
    """The open cursors of the connection to the server, or to the file, by statement."""
    raw = connection.connection
    # One of SQLite's takes no attributes; Django's wrapper stays with it.
    place = vars(raw) if hasattr(raw, "__dict__") else vars(connection)
    owner, cursors = place.get("_anonmail_cursors", (None, None))
    if owner is not raw:
        cursors = {}
        place["_anonmail_cursors"] = (raw, cursors)
    return cursors  # type: ignore[no-any-return]


@contextmanager
def pipelined() -> Iterator[None]:
    """Send what the block runs by `execute` to PostgreSQL together, at the block's end, where what fails is
    raised."""
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        yield
        return
    if connection.takes_several() and not is_watched(connection):
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
