"""Which rows a transaction has inserted itself."""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler


class IsOwnRow(models.Func):
    """Whether the row was inserted in this transaction. PostgreSQL's alone; if `knows_own_rows`."""

    output_field = models.BooleanField()

    def __init__(self) -> None:
        super().__init__(models.F("pk"))

    def as_sql(  # type: ignore[override]
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        table = compiler.quote_name_unless_alias(self.get_source_expressions()[0].alias)
        # The transaction that wrote the row (PostgreSQL's manual, 5.5: xmin).
        return f"{table}.xmin = pg_current_xact_id()::xid", ()


def knows_own_rows() -> bool:
    """Whether `IsOwnRow` can be asked for rows that are inserted now: behind a savepoint, they are those of
    a transaction within the transaction."""
    connection = connections[DEFAULT_DB_ALIAS]
    return connection.vendor == "postgresql" and not any(connection.savepoint_ids)
