"""Django's PostgreSQL backend, whose pool lends no connection that has ended, and which keeps plans."""

import select
from typing import Any

import psycopg
from django.db.backends.postgresql import base


def has_ended(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has closed this idle connection. Asks the operating system, not the server."""
    try:
        poll = select.poll()
        # An idle connection has nothing to read but the server's goodbye.
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except psycopg.OperationalError:
        return True  # closed on our side


class DatabaseWrapper(base.DatabaseWrapper):
    """Replaces the pool's own check (Django's CONN_HEALTH_CHECKS), which costs a round trip for each
    request and, with a growing pause after each connection that fails it, up to half a minute after the
    server was restarted."""

    def _configure_connection(self, connection: Any) -> bool:
        has_changed: bool = super()._configure_connection(connection)  # type: ignore[misc]
        if connection.prepare_threshold is None:
            return has_changed
        # Planning a kept statement anew for its values takes several times as long as running it. A plan that
        # is kept must not scan a table because it is small as yet; PostgreSQL's 4.0 for a page read by an
        # index is that of a disk with a moving head.
        connection.execute("SET plan_cache_mode = force_generic_plan; SET random_page_cost = 1.1")
        return True

    def _set_autocommit(self, autocommit: bool) -> None:
        if self.connection.autocommit != autocommit:
            super()._set_autocommit(autocommit)  # type: ignore[misc]

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
