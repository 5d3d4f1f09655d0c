"""A prefix search that both databases answer from the column's unique index."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Lookup
from django.db.models.sql.compiler import SQLCompiler


class Prefix(Lookup[str]):
    """`column__prefix="text"`: values that begin with the text, in the same case.

    PostgreSQL answers LIKE from the `varchar_pattern_ops` index that Django adds to a unique column.
    SQLite's LIKE ignores case and so ignores the index, but a range is answered from it.
    """

    lookup_name = "prefix"

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        column, params = self.process_lhs(compiler, connection)
        escaped = connection.ops.prep_for_like_query(self.rhs)
        return f"{column} LIKE %s", [*params, f"{escaped}%"]

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        column, params = self.process_lhs(compiler, connection)
        return f"({column} >= %s AND {column} < %s)", [*params, self.rhs, *params, f"{self.rhs}\U0010ffff"]


CharField.register_lookup(Prefix)
