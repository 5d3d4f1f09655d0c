"""A prefix search that both databases answer from the column's unique index."""

from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Lookup
from django.db.models.sql.compiler import SQLCompiler

from core.db.fields import ByteOrderedField
from core.db.parameters import Parameter


class Prefix(Lookup[str]):
    """`column__prefix="text"`: values that begin with the text, in the same case.

    A range, which both databases answer from an index even in a plan that was made before the text is
    known: PostgreSQL from the index of a ByteOrderedField, or, by operators of its own, from the
    `varchar_pattern_ops` index that Django adds to a unique column.
    """

    lookup_name = "prefix"

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, lower: str = ">=", upper: str = "<"
    ) -> tuple[str, Any]:
        column, params = self.process_lhs(compiler, connection)
        end = self._changed(lambda text: f"{text}\U0010ffff")
        return f"({column} {lower} %s AND {column} {upper} %s)", [*params, self.rhs, *params, end]

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        if isinstance(self.lhs.output_field, ByteOrderedField):
            return self.as_sql(compiler, connection)
        return self.as_sql(compiler, connection, lower="~>=~", upper="~<~")

    def _changed(self, change: Callable[[str], str]) -> Any:
        """The right-hand side after `change`, applied now or when a compiled query runs."""
        return self.rhs.through(change) if isinstance(self.rhs, Parameter) else change(self.rhs)


CharField.register_lookup(Prefix)
