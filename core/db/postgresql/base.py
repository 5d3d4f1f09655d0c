"""Django's PostgreSQL backend, whose pool lends no connection that has ended, and which keeps plans where
nothing stands between it and the server."""

import select
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from django.db.backends.postgresql.base import TIMESTAMPTZ_OID
from psycopg import pq

from core.db.postgresql.exchange import (
    Found,
    Rows,
    Statement,
    can_commit,
    commit,
    exchange,
    run_alone,
    stands_alone,
    takes_several,
)
from core.db.transactions import QuickTransactions


def has_ended(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has closed this idle connection. Asks the operating system, not the server."""
    try:
        poll = select.poll()
        # An idle connection has nothing to read but the server's goodbye.
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except psycopg.OperationalError:
        return True  # closed on our side


def has_pooler(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler such as PgBouncer answers, which may run each transaction in another server process.

    It cannot know that process when it greets a client, and announces a process id that it has made up.
    """
    ((process,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
    return bool(process != connection.info.backend_pid)


@cache
def quick_loader(loader: Any) -> Any:
    """A loader of moments that does as this one of Django's, which takes each of them apart by a pattern."""

    class Moments(loader):  # type: ignore[misc]
        def load(self, data: Any) -> Any:
            try:
                moment = datetime.fromisoformat(bytes(data).decode())
            except ValueError:
                return super().load(data)
            return moment if moment.tzinfo is self.timezone else super().load(data)

    return Moments


class DatabaseWrapper(QuickTransactions, base.DatabaseWrapper):
    """Replaces the pool's own check (Django's CONN_HEALTH_CHECKS), which costs a round trip for each
    request and, with a growing pause after each connection that fails it, up to half a minute after the
    server was restarted."""

    def _configure_connection(self, connection: Any) -> bool:
        has_changed: bool = super()._configure_connection(connection)  # type: ignore[misc]
        loader = connection.adapters.get_loader(TIMESTAMPTZ_OID, pq.Format.TEXT)
        connection.adapters.register_loader("timestamptz", quick_loader(loader))
        if connection.prepare_threshold is None:
            return has_changed
        if has_pooler(connection):
            # Neither a prepared statement nor a SET would be where the next transaction runs.
            connection.prepare_threshold = None
            return has_changed
        # Planning a kept statement anew for its values takes several times as long as running it. A plan that
        # is kept must not scan a table because it is small as yet; PostgreSQL's 4.0 for a page read by an
        # index is that of a disk with a moving head.
        connection.execute("SET plan_cache_mode = force_generic_plan; SET random_page_cost = 1.1")
        return True

    def has_ended(self) -> bool:
        """Whether the server has closed our connection, which is idle."""
        return has_ended(self.connection)

    def _set_autocommit(self, autocommit: bool) -> None:
        if self.connection.autocommit != autocommit:
            super()._set_autocommit(autocommit)  # type: ignore[misc]

    def _begin(self) -> None:
        # The server hears of it with the first statement.
        self._set_autocommit(False)

    def _commit(self) -> None:
        connection = self.connection
        if self.queries_logged or connection is None or not can_commit(connection):
            super()._commit()  # type: ignore[misc]
            return
        with self.wrap_database_errors:
            commit(connection)

    def run(self, sql: str, params: Sequence[Any]) -> Rows:
        """The rows of a statement that returns some."""
        if self.connection is None:
            self.ensure_connection()
        if self.needs_rollback:
            self.validate_no_broken_transaction()
        try:
            if not self.in_atomic_block and stands_alone(self.connection):
                return run_alone(self.connection, sql, params)
            cursor = self._kept_cursor(sql)
            cursor.execute(sql, params)
            return cursor.fetchall()  # type: ignore[no-any-return]
        except self.Database.Error:
            with self.wrap_database_errors:
                raise

    def execute(self, sql: str, params: Sequence[Any] | None) -> None:
        """Run a statement that returns nothing."""
        if self.connection is None:
            self.ensure_connection()
        if self.needs_rollback:
            self.validate_no_broken_transaction()
        with self.wrap_database_errors:
            self._kept_cursor(sql).execute(sql, params)

    def _kept_cursor(self, sql: str) -> Any:
        """This connection's cursor for the statement: to make one costs more than to use it."""
        cursors = vars(self.connection).setdefault("_anonmail_cursors", {})
        if sql not in cursors:
            cursors[sql] = self.create_cursor()
        return cursors[sql]

    def takes_several(self) -> bool:
        """Whether the transaction has not begun on the server, and can begin with an `exchange`."""
        self.ensure_connection()
        return self.in_atomic_block and takes_several(self.connection)

    def exchange(self, statements: Sequence[Statement]) -> Found:
        """Begin the transaction with these statements, each with its parameters, in one message. The rows of
        each, and the error of the one that failed, if one did: its rows and later ones are missing."""
        self.validate_no_broken_transaction()
        with self.wrap_database_errors:
            return exchange(self.connection, statements)

    def chunked_cursor(self) -> Any:
        """A cursor of the server's, or one that fetches all rows at once if there may be a pooler: between
        two transactions, the server's cursor would stay behind in another process."""
        self.ensure_connection()
        if self.connection.prepare_threshold is None:
            return self.cursor()
        return super().chunked_cursor()

    def is_usable(self) -> bool:
        """Asked at the end of a request in which an error occurred. A connection that takes no changes may
        lead to a replica, or to a primary that has been replaced: the pool makes a new one instead."""
        if not super().is_usable():
            return False
        assert self.connection is not None
        shown = self.connection.execute("SHOW transaction_read_only").fetchone()
        if shown is None or shown[0] != "on":
            return True
        self.connection.close()
        return False

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        pool = self.pool
        if pool is None:
            return connection
        for _ in range(pool.max_size):
            if not has_ended(connection):
                break
            connection.close()
            pool.putconn(connection)  # which makes another in its place
            connection = super().get_new_connection(conn_params)
        return connection
