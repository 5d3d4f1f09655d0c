"""Django's SQLite backend, whose frequent statements, BEGIN and COMMIT go past Django's cursors."""

from collections.abc import Sequence
from typing import Any

from django.db.backends.sqlite3 import base

from core.db.transactions import QuickTransactions

Rows = list[tuple[Any, ...]]
# Statements with the driver's marks, which Django's cursors would put there each time.
_WITH_OWN_MARKS: dict[str, str] = {}


class DatabaseWrapper(QuickTransactions, base.DatabaseWrapper):
    """Django's cursors cost more than most statements do. The driver keeps statements prepared by itself."""

    transaction_mode: str | None

    def run(self, sql: str, params: Sequence[Any]) -> Rows:
        """The rows of a statement that returns some."""
        if self.connection is None:
            self.ensure_connection()
        if self.needs_rollback:
            self.validate_no_broken_transaction()
        own_sql = _WITH_OWN_MARKS.get(sql)
        if own_sql is None:
            own_sql = _WITH_OWN_MARKS[sql] = self.create_cursor().convert_query(sql)
        return self._run_directly(own_sql, params)

    def execute(self, sql: str, params: Sequence[Any] | None) -> None:
        """Run a statement that returns nothing."""
        self.run(sql, params or ())

    def _run_directly(self, sql: str, params: Sequence[Any] = ()) -> Rows:
        try:
            return self.connection.execute(sql, params).fetchall()  # type: ignore[no-any-return]
        except self.Database.Error:
            with self.wrap_database_errors:
                raise

    def _start_transaction_under_autocommit(self) -> None:
        if self.is_watched:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        else:
            self._run_directly(f"BEGIN {self.transaction_mode or ''}")

    def _begin(self) -> None:
        self._start_transaction_under_autocommit()

    def _set_autocommit(self, autocommit: bool) -> None:
        # It says whether the driver begins transactions by itself. Atomic wants that never.
        if not autocommit or self.connection.isolation_level is not None:
            super()._set_autocommit(autocommit)  # type: ignore[misc]

    def _commit(self) -> None:
        if self.queries_logged or self.connection is None:
            super()._commit()  # type: ignore[misc]
            return
        try:
            self.connection.commit()
        except self.Database.Error:
            with self.wrap_database_errors:
                raise
