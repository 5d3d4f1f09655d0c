"""Prepared statements by what psycopg offers of libpq: several in one message that is answered in one, and
one alone.

psycopg's own pipeline sends each of them by itself, and looks for answers each time. Its cursors take as long
for a statement as the server does.
"""

import select
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import FeatureNotSupported, InvalidSqlStatementName, error_from_result
from psycopg.types.datetime import TimestamptzLoader

Rows = list[tuple[Any, ...]]
Found = tuple[list[Rows], psycopg.Error | None]
Statement = tuple[str, Sequence[Any]]

_SUCCEEDED = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_SYNC = pq.ExecStatus.PIPELINE_SYNC
# psycopg has had the server forget all that is prepared, as it does after each ROLLBACK; or a column of the
# rows has another type than when it was prepared.
_PREPARED_IN_VAIN = (InvalidSqlStatementName, FeatureNotSupported)


def takes_several(connection: "psycopg.Connection[Any]") -> bool:
    """Whether a transaction can begin with an exchange: it begins with BEGIN alone, and what is prepared is
    still there in the next one, which it is not behind a pooler."""
    return (
        connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
        and not connection.autocommit
        and connection.prepare_threshold is not None
        and connection.isolation_level is None
        and connection.read_only is None
        and connection.deferrable is None
    )


class _Prepared:
    """The names under which a connection's server keeps statements: each with the types of its parameters,
    or without types, if the statement itself says of what type each of them is."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self.names: dict[tuple[str, tuple[int, ...]], bytes] = {}
        # It knows by now how this connection writes and reads values. What Django puts before psycopg's way
        # to read a moment, which is in C, gives it the time zone that the connection has anyway.
        cursor = connection.cursor()
        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        self.transformer = Transformer(cursor)
        # No name comes twice: some may be kept that nobody knows of any more.
        self._numbers = count()

    def new_name(self) -> bytes:
        return b"anonmail_%d" % next(self._numbers)


def _prepared(connection: "psycopg.Connection[Any]") -> _Prepared:
    own = vars(connection)
    prepared: _Prepared | None = own.get("_anonmail_prepared")
    if prepared is None:
        prepared = own["_anonmail_prepared"] = _Prepared(connection)
    return prepared


def stands_alone(connection: "psycopg.Connection[Any]") -> bool:
    """Whether a statement is a transaction by itself, and what is prepared stays for the next one."""
    server = connection.pgconn
    return (
        connection.autocommit
        and connection.prepare_threshold is not None
        and server.transaction_status == pq.TransactionStatus.IDLE
        and server.pipeline_status == pq.PipelineStatus.OFF
    )


def can_commit(connection: "psycopg.Connection[Any]") -> bool:
    """Whether there is a transaction to commit with `commit`."""
    server = connection.pgconn
    return (
        server.transaction_status == pq.TransactionStatus.INTRANS
        and server.pipeline_status == pq.PipelineStatus.OFF
    )


def run_alone(connection: "psycopg.Connection[Any]", sql: str, params: Sequence[Any]) -> Rows:
    """The rows of a statement that `stands_alone`. Raises psycopg's errors, as a cursor does."""
    prepared = _prepared(connection)
    with connection.lock:
        result = _run_alone(connection.pgconn, prepared, sql, params)
        if result.status not in _SUCCEEDED and isinstance(error_from_result(result), _PREPARED_IN_VAIN):
            # Nothing was run.
            prepared.names.clear()
            result = _run_alone(connection.pgconn, prepared, sql, params)
        if result.status in _SUCCEEDED:
            transformer = prepared.transformer
            transformer.set_pgresult(result)
            return transformer.load_rows(0, result.ntuples, tuple)
    raise error_from_result(result)


def _run_alone(
    server: "pq.abc.PGconn", prepared: _Prepared, sql: str, params: Sequence[Any]
) -> "pq.abc.PGresult":
    transformer = prepared.transformer
    # psycopg's own type of it knows no NULL.
    values: Any = transformer.dump_sequence(params, [PyFormat.AUTO] * len(params))
    types = transformer.types or ()
    name = prepared.names.get((sql, types))
    try:
        if name is None:
            name = prepared.new_name()
            result = server.prepare(name, _numbered(sql, len(params)), types)
            if result.status in _SUCCEEDED:
                prepared.names[sql, types] = name
                result = server.exec_prepared(name, values, transformer.formats)
        else:
            result = server.exec_prepared(name, values, transformer.formats)
    except MemoryError:
        # There is no result at all if libpq could not send.
        _check_connected(server)
        raise
    _check_connected(server)
    return result


def commit(connection: "psycopg.Connection[Any]") -> None:
    """Commit the transaction. Raises psycopg's errors."""
    server = connection.pgconn
    with connection.lock:
        try:
            result = server.exec_(b"COMMIT")
        except MemoryError:
            _check_connected(server)
            raise
        _check_connected(server)
    if result.status not in _SUCCEEDED:
        raise error_from_result(result)


def _check_connected(server: "pq.abc.PGconn") -> None:
    if server.status != pq.ConnStatus.OK:
        raise psycopg.OperationalError(f"the connection to the server is lost: {server.get_error_message()}")


def exchange(connection: "psycopg.Connection[Any]", statements: Sequence[Statement]) -> Found:
    """Begin a transaction with these statements. The rows of each, and the error of the one that failed, if
    there is one: its rows and later ones are missing.

    Raises psycopg's error if the connection is lost.
    """
    prepared = _prepared(connection)
    found = _exchange(connection, statements, prepared)
    if isinstance(found[1], _PREPARED_IN_VAIN):
        connection.rollback()
        prepared.names.clear()
        found = _exchange(connection, statements, prepared)
    return found


def _exchange(
    connection: "psycopg.Connection[Any]", statements: Sequence[Statement], prepared: _Prepared
) -> Found:
    transformer = prepared.transformer
    # As text: the statement says of what type each of them is.
    values = [transformer.dump_sequence(params, [PyFormat.TEXT] * len(params)) for _sql, params in statements]
    sent = [(sql, own) for (sql, _params), own in zip(statements, values, strict=True)]
    new: dict[str, bytes] = {}
    with connection.lock:
        try:
            connection.pgconn.enter_pipeline_mode()
            answers = _send(connection.pgconn, sent, prepared, new)
            results = list(_results(connection.pgconn))
            connection.pgconn.exit_pipeline_mode()
        except BaseException:
            # What the server still says would be taken for the answer to something else.
            connection.close()
            raise
    rows: list[Rows] = []
    for result, prepares in zip(results, answers, strict=True):
        if result.status not in _SUCCEEDED:
            return rows, error_from_result(result)
        if prepares is None:
            transformer.set_pgresult(result)
            rows.append(transformer.load_rows(0, result.ntuples, tuple))
        elif prepares:
            prepared.names[prepares, ()] = new[prepares]
    return rows, None


def _send(
    server: "pq.abc.PGconn",
    statements: Sequence[tuple[str, Any]],
    prepared: _Prepared,
    new: dict[str, bytes],
) -> list[str | None]:
    """Send BEGIN, the statements and the end.

    Returns for each of the answers to come which statement is prepared by then, or "", or None where it has a
    statement's rows.
    """
    answers: list[str | None] = [""]
    server.send_query_params(b"BEGIN", None)
    for sql, values in statements:
        name = prepared.names.get((sql, ())) or new.get(sql)
        if name is None:
            name = new[sql] = prepared.new_name()
            server.send_prepare(name, _numbered(sql, len(values)))
            answers.append(sql)
        server.send_query_prepared(name, values)
        answers.append(None)
    server.pipeline_sync()
    return answers


def _numbered(sql: str, number: int) -> bytes:
    """The statement with the server's marks for this number of parameters."""
    return (sql % tuple(f"${place}" for place in range(1, number + 1))).encode()


def _results(server: "pq.abc.PGconn") -> Iterator["pq.abc.PGresult"]:
    """What the server answers to each of the things that were sent."""
    poll = select.poll()
    is_unsent = server.flush()
    while True:
        while server.is_busy():
            poll.register(server.socket, select.POLLIN | (select.POLLOUT if is_unsent else 0))
            poll.poll()
            server.consume_input()
            is_unsent = is_unsent and server.flush()
        result = server.get_result()
        if result is None:
            # As after each answer; but nothing more comes from a server that has gone.
            _check_connected(server)
            continue
        if result.status == _SYNC:
            return
        yield result
