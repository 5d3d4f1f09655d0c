"""A prefix search that both databases answer from the column's unique index."""

from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Lookup
from django.db.models.sql.compiler import SQLCompiler

from core.db.compiled import Parameter


class Prefix(Lookup[str]):
    """`column__prefix="text"`: values that begin with the text, in the same case.

    PostgreSQL answers LIKE from the `varchar_pattern_ops` index that Django adds to a unique column.
    SQLite's LIKE ignores case and so ignores the index, but a range is answered from it.
    """

    lookup_name = "prefix"

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        column, params = self.process_lhs(compiler, connection)
        pattern = self._changed(lambda text: connection.ops.prep_for_like_query(text) + "%")
        return f"{column} LIKE %s", [*params, pattern]

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        column, params = self.process_lhs(compiler, connection)
        end = self._changed(lambda text: f"{text}\U0010ffff")
        return f"({column} >= %s AND {column} < %s)", [*params, self.rhs, *params, end]

    def _changed(self, change: Callable[[str], str]) -> Any:
        """The right-hand side after `change`, applied now or when a compiled query runs."""
        return self.rhs.through(change) if isinstance(self.rhs, Parameter) else change(self.rhs)


CharField.register_lookup(Prefix)
