"""QuerySets that are compiled to SQL once and then run with other values.

Building a query with Django's ORM costs several times what the database takes to answer it. On a hot
path the same QuerySet, with the same rules in it, is compiled the first time and kept as text.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.query import ModelIterable, get_related_populators
from django.db.models.sql.compiler import SQLCompiler

from core.db.conversions import Conversion, conversions_of, converted
from core.db.instances import maker_of, populate_by
from core.db.parameters import Parameter, Values
from core.db.statements import run


class RowsFrom(models.Subquery):
    """The rows of a QuerySet that begins at its first row and has a length (`[:20]`), from `start` on.

    A slice cannot begin at a Parameter.
    """

    template = "(%(subquery)s OFFSET %%s)"

    def __init__(self, queryset: "models.QuerySet[Any, Any]", start: int | Parameter) -> None:
        super().__init__(queryset)
        self.start = start

    def as_sql(  # type: ignore[override]
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        sql, params = super().as_sql(compiler, connection, **context)
        return sql, (*params, self.start)


class CountOf(models.Subquery):
    """How many rows a QuerySet finds, counted up to `most`."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s LIMIT %%s) AS counted)"
    output_field = models.IntegerField()

    def __init__(self, queryset: "models.QuerySet[Any, Any]", most: int | Parameter) -> None:
        # A constant, or SQLite reads a key of each row.
        super().__init__(queryset.order_by().values_list(models.Value(1)))
        self.most = most

    def as_sql(  # type: ignore[override]
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        sql, params = super().as_sql(compiler, connection, **context)
        return sql, (*params, self.most)


@dataclass(frozen=True)
class _Compiled:
    sql: str
    params: Values
    conversions: list[Conversion]
    rows: Callable[[Iterable[Sequence[Any]]], Iterator[Any]]


class CompiledQuery:
    """Runs `build(**parameters)` without building it again.

    `build` gets a Parameter for each name in `parameters` (name to model field) and returns a QuerySet,
    of instances (with `only`, `annotate` and `select_related` as anywhere) or of `values_list` tuples.
    It must not look at the values: what it decides by, is another CompiledQuery.
    """

    def __init__(
        self, build: Callable[..., "models.QuerySet[Any, Any]"], **parameters: "models.Field[Any, Any]"
    ) -> None:
        self.build = build
        self.parameters = parameters
        self._compiled: dict[str, _Compiled] = {}

    def __call__(self, **values: Any) -> list[Any]:
        """What the QuerySet holds for these values, in one statement."""
        connection = connections[DEFAULT_DB_ALIAS]
        compiled = self._compiled.get(connection.vendor)
        if compiled is None:
            compiled = self._compiled[connection.vendor] = self._compile(connection)
        rows: Iterable[Sequence[Any]] = run(connection, compiled.sql, compiled.params.of(values, connection))
        if compiled.conversions:
            rows = converted(rows, compiled.conversions)
        return list(compiled.rows(rows))

    def _compile(self, connection: BaseDatabaseWrapper) -> _Compiled:
        queryset = self.build(**{name: Parameter(name, field) for name, field in self.parameters.items()})
        compiler = queryset.query.get_compiler(connection=connection)
        sql, params = compiler.as_sql()
        converters = compiler.get_converters([column for column, _sql, _alias in compiler.select])
        is_of_instances = queryset._iterable_class is ModelIterable
        rows = _instances_from(compiler) if is_of_instances else _tuples
        return _Compiled(sql, Values(params), conversions_of(converters, connection), rows)


def _tuples(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    return map(tuple, rows)


def _instances_from(compiler: Any) -> Callable[[Iterable[Sequence[Any]]], Iterator[models.Model]]:
    """Makes instances of rows as Django's own ModelIterable does."""
    info = compiler.klass_info
    start, end = info["select_fields"][0], info["select_fields"][-1] + 1
    names = [column[0].target.attname for column in compiler.select[start:end]]
    populators = get_related_populators(info, compiler.select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]
    populate = [populate_by(populator) for populator in populators]
    make = maker_of(info["model"], names)
    annotations = list(compiler.annotation_col_map.items())

    def instances(rows: Iterable[Sequence[Any]]) -> Iterator[models.Model]:
        for row in rows:
            instance = make(row[start:end])
            for each in populate:
                each(row, instance)
            for name, position in annotations:
                setattr(instance, name, row[position])
            yield instance

    return instances
