"""Many rows of values in one statement.

PostgreSQL takes an array for each column: one statement whatever their number, which it plans once, and
which the driver need not take apart again. SQLite takes each value, and has a statement for each number.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from core.db.parameters import array, array_of_one, array_type


def rows_in_statement(number: int, connection: BaseDatabaseWrapper) -> int | None:
    """For how many rows a statement for `number` of them is written; None: for any number, in arrays."""
    return None if connection.vendor == "postgresql" else number


def values_of_rows(
    fields: "Sequence[models.Field[Any, Any]]",
    number: int | None,
    connection: BaseDatabaseWrapper,
    constants: Sequence[str] = (),
) -> str:
    """The rows to insert, as SQL, with a column for each of these fields, and then the constants in each."""
    if number is None:
        return f"SELECT {', '.join(['*', *constants])} FROM {arrays_of(fields, connection)}"  # noqa: S608
    row = f"({', '.join([*['%s'] * len(fields), *constants])})"
    return f"VALUES {', '.join([row] * number)}"


def literal(value: Any) -> str:
    """The value as it stands in a statement with parameters; "" if it is of another kind than these."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        return f"{value:d}"
    # Backslashes and the driver's marks mean something there.
    if isinstance(value, str) and str(value).replace("-", "_").isidentifier() or value == "":
        return f"'{value!s}'"
    return ""


def arrays_of(fields: "Iterable[models.Field[Any, Any]]", connection: BaseDatabaseWrapper) -> str:
    """PostgreSQL's table of the rows, from a parameter for each of these fields."""
    return f"unnest({', '.join(f'%s::{array_type(field, connection)}' for field in fields)})"


def params_of_rows(rows: Sequence[Sequence[Any]], connection: BaseDatabaseWrapper) -> list[Any]:
    """The parameters of a statement for these rows."""
    if connection.vendor == "postgresql":
        if len(rows) == 1:
            return list(map(array_of_one, rows[0]))
        return [array(column) for column in zip(*rows, strict=True)]
    return [value for row in rows for value in row]
