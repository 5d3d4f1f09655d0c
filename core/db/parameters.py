"""Parameters of compiled statements, and how their values are written."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler


class Parameter(models.Expression):
    """Stands in a QuerySet for a value that is given when it is run."""

    def __init__(
        self,
        name: str,
        output_field: "models.Field[Any, Any]",
        change: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(output_field=output_field)
        self.name = name
        self.change = change
        self.plain_type = plain_type(output_field)
        self.element_type = element_type(output_field)
        self.sqlite_type = sqlite_type(output_field)

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        return "%s", [self]

    def through(self, change: Callable[[Any], Any]) -> "Parameter":
        """The same value after `change`, for a lookup that writes it differently."""
        return Parameter(self.name, self.output_field, change)

    def value(self, given: Any, connection: BaseDatabaseWrapper) -> Any:
        """The given value as the database's driver takes it."""
        if self.change:
            given = self.change(given)
        if given.__class__ is (self.sqlite_type if connection.vendor == "sqlite" else self.plain_type):
            return given
        return self.output_field.get_db_prep_value(given, connection=connection)

    def element(self, given: Any, connection: BaseDatabaseWrapper) -> Any:
        """The given value as `array` takes it."""
        if given.__class__ is self.element_type and self.change is None:
            return given
        return self.value(given, connection)


class Each(Parameter):
    """Stands for all the values of a list that is given."""

    def value(self, given: Any, connection: BaseDatabaseWrapper) -> Any:
        values = [super(Each, self).value(each, connection) for each in given]
        return array(values) if connection.vendor == "postgresql" else json.dumps(values)


@models.Field.register_lookup
class Among(models.Lookup[Any]):
    """`field__among=parameter`: is one of the values in the list that is given for the parameter.

    `field__in` would be another statement for each number of values.
    """

    lookup_name = "among"
    rhs: Any  # a Parameter

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        return self._written(compiler, connection, "{} IN (SELECT value FROM json_each({}))")

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        kind = array_type(self.rhs.output_field, connection)
        return self._written(compiler, connection, f"{{}} = ANY({{}}::{kind})")

    def _written(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, template: str
    ) -> tuple[str, Any]:
        column, column_params = self.process_lhs(compiler, connection)
        mark, _params = self.process_rhs(compiler, connection)
        each = Each(self.rhs.name, self.rhs.output_field, self.rhs.change)
        return template.format(column, mark), [*column_params, each]


def array_type(field: "models.Field[Any, Any]", connection: BaseDatabaseWrapper) -> str:
    """PostgreSQL's type of an array of the field's values. Without a length: a cast to it would cut them."""
    return f"{(field.db_type(connection) or '').partition('(')[0]}[]"


def array(values: Sequence[Any]) -> str:
    """The values as PostgreSQL writes an array (its manual, 8.15.6). psycopg's own way to do so looks at each
    of them several times."""
    if len(values) == 1:
        return array_of_one(values[0])
    kinds = set(map(type, values))
    if kinds == {int}:
        return f"{{{','.join(map(str, values))}}}"
    if len(set(map(id, values))) == 1:
        # Many a column has the same value in all rows: the moment, or nothing.
        return f"{{{','.join([_element(values[0])] * len(values))}}}"
    if kinds == {str}:
        text = '","'.join(values)
        if "\\" not in text and text.count('"') == 2 * (len(values) - 1):
            return f'{{"{text}"}}'
    return f"{{{','.join(map(_element, values))}}}"


def array_of_one(value: Any) -> str:
    """The value as PostgreSQL writes an array of it alone."""
    if value.__class__ is str and "\\" not in value and '"' not in value:
        return f'{{"{value}"}}'
    return f"{{{_element(value)}}}"


def _element(value: Any) -> str:
    if isinstance(value, int):
        return str(value)  # of a bool, too
    if value is None:
        return "NULL"
    text = str(value)
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


class Values:
    """The values for a statement's parameters, of which some are given each time it is run."""

    def __init__(self, params: Sequence[Any]) -> None:
        self.params = params
        # A driver looks up how to write an enum each time.
        self._fixed = [param.value if isinstance(param, Enum) else param for param in params]
        self._open = [(place, param) for place, param in enumerate(params) if isinstance(param, Parameter)]

    def of(self, given: dict[str, Any], connection: BaseDatabaseWrapper) -> list[Any]:
        """All of them, with the given ones in their places."""
        values = self._fixed.copy()
        for place, param in self._open:
            values[place] = param.value(given[param.name], connection)
        return values

    def elements_of(self, given: dict[str, Any], connection: BaseDatabaseWrapper) -> list[Any]:
        """The same, for one element of an array each."""
        values = self._fixed.copy()
        for place, param in self._open:
            values[place] = param.element(given[param.name], connection)
        return values


class Column:
    """A field of a model's rows that are inserted."""

    def __init__(self, field: "models.Field[Any, Any]") -> None:
        self.field = field
        self.name = field.attname
        self.plain_type = plain_type(field)
        self.element_type = element_type(field)
        self.sqlite_type = sqlite_type(field)
        self.takes_moments = _plain_type(field, [(models.DateTimeField, datetime)]) is datetime

    def of(self, instance: models.Model, connection: BaseDatabaseWrapper) -> Any:
        """The instance's value as the database's driver takes it."""
        return self.value(getattr(instance, self.name), connection)

    def value(self, given: Any, connection: BaseDatabaseWrapper) -> Any:
        """The given value as the database's driver takes it."""
        if given.__class__ is self.plain_type:
            return given
        if self.takes_moments and given.__class__ is datetime and given.tzinfo is UTC:
            return moment(given, connection)
        return self.field.get_db_prep_save(given, connection)

    def element(self, given: Any, connection: BaseDatabaseWrapper) -> Any:
        """The given value as `array` takes it."""
        if given is None or given.__class__ is self.element_type:
            return given
        return self.value(given, connection)


def moment(value: datetime, connection: BaseDatabaseWrapper) -> Any:
    """A moment in UTC as the database's driver takes it, which is what Django makes of it."""
    if connection.vendor == "sqlite" and connection.timezone is UTC:
        return str(value.replace(tzinfo=None))
    return connection.ops.adapt_datetimefield_value(value)


def row_of(instance: models.Model, columns: Sequence[Column], connection: BaseDatabaseWrapper) -> list[Any]:
    """The instance's values of these columns, as `core.db.rows` takes them."""
    is_postgresql = connection.vendor == "postgresql"
    row = []
    for column in columns:
        given = getattr(instance, column.name)
        plain = column.element_type if is_postgresql else column.sqlite_type
        row.append(given if given is None or given.__class__ is plain else column.value(given, connection))
    return row


_CONVERSIONS = ("to_python", "get_prep_value", "get_db_prep_value", "get_db_prep_save")
_PLAIN: tuple[tuple[type[models.Field[Any, Any]], type], ...] = (
    (models.CharField, str),
    (models.TextField, str),
    (models.BooleanField, bool),
)


# SQLite has integers of one size.
_PLAIN_ON_SQLITE: tuple[tuple[type[models.Field[Any, Any]], type], ...] = (
    *_PLAIN,
    (models.IntegerField, int),
    (models.AutoField, int),
    (models.BigAutoField, int),
)
# PostgreSQL's driver needs to be told how large the column's integers are. What an array has is text.
_PLAIN_ELEMENTS: tuple[tuple[type[models.Field[Any, Any]], type], ...] = (
    *_PLAIN_ON_SQLITE,
    (models.DateTimeField, datetime),
)


def plain_type(field: "models.Field[Any, Any]") -> type | None:
    """The type whose values the field hands to the driver as they are; None if there is none.

    Its methods would ask each value several times what it is.
    """
    return _plain_type(field, _PLAIN)


def sqlite_type(field: "models.Field[Any, Any]") -> type | None:
    """The same for SQLite's driver."""
    return _plain_type(getattr(field, "target_field", field), _PLAIN_ON_SQLITE)


def element_type(field: "models.Field[Any, Any]") -> type | None:
    """The same for what `array` is given."""
    return _plain_type(getattr(field, "target_field", field), _PLAIN_ELEMENTS)


def _plain_type(
    field: "models.Field[Any, Any]", kinds: Iterable[tuple[type[models.Field[Any, Any]], type]]
) -> type | None:
    for kind, plain in kinds:
        inherited = (getattr(type(field), name) is getattr(kind, name) for name in _CONVERSIONS)
        if isinstance(field, kind) and all(inherited):
            return plain
    return None
