"""Inserts, updates and deletions whose statement is built once and then run for other rows."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.subqueries import DeleteQuery, UpdateQuery

from core.db.instances import is_made_anew
from core.db.parameters import Column, Parameter, Values, row_of
from core.db.rows import arrays_of, literal, params_of_rows, rows_in_statement, values_of_rows
from core.db.statements import Rows, execute, run
from core.db.together import Statement


def insert_row(instance: models.Model) -> None:
    """Insert one new instance as `save(force_insert=True)` does, in one statement that is built once.

    Sends no signals. Raises IntegrityError as the database does.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    sql, columns = _insert_statement(type(instance), connection.vendor)
    values = [column.of(instance, connection) for column in columns]
    ((instance.pk,),) = run(connection, sql, values)
    instance._state.adding = False
    instance._state.db = DEFAULT_DB_ALIAS


def insert_unless_present(
    instances: Sequence[models.Model],
    *unique: "models.Field[Any, Any]",
    also: str = "",
    given: tuple[str, ...] = (),
) -> list[models.Model]:
    """Insert new instances of one model in one statement.

    One whose values of the fields `unique` are in a row already, or in an instance before it, stays without a
    key. Sends no signals. Raises IntegrityError as the database does.

    `also`: a condition on a new row, as SQL with qualified columns. Those that fulfil it are returned.
    `given`: the attributes that instances usually come with. If all others are as in a new instance, nobody
    has to write, send and read them: they stand in the statement.
    """
    return inserting_unless_present(instances, *unique, also=also, given=given).run()


def inserting_unless_present(
    instances: Sequence[models.Model],
    *unique: "models.Field[Any, Any]",
    also: str = "",
    given: tuple[str, ...] = (),
) -> Statement[list[models.Model]]:
    """`insert_unless_present`, as a statement to be run together with others."""
    connection = connections[DEFAULT_DB_ALIAS]
    model = type(instances[0])
    constants = _constants(model, given) if given else {}
    if not all(constants.items() <= vars(instance).items() for instance in instances):
        constants = {}
    sql, columns = _insert_unless_present_statement(
        model,
        connection.vendor,
        rows_in_statement(len(instances), connection),
        unique,
        also,
        tuple(constants),
    )
    rows = [row_of(instance, columns, connection) for instance in instances]

    def note_keys(found: Rows) -> list[models.Model]:
        inserted = {tuple(values): (key, fulfils) for *values, key, fulfils in found}
        fulfilling = []
        for instance in instances:
            names = tuple(getattr(instance, field.attname) for field in unique)
            instance.pk, fulfils = inserted.pop(names, (None, False))
            instance._state.adding = instance.pk is None
            instance._state.db = DEFAULT_DB_ALIAS
            if fulfils:
                fulfilling.append(instance)
        return fulfilling

    return Statement(sql, params_of_rows(rows, connection), note_keys)


class CompiledInsert:
    """Inserts the rows that a query finds, for each of several sets of values, in one statement.

    `build` gets a Parameter for each name and returns a QuerySet of `values_list` tuples in the order of
    `fields`, which are the model's. `returning` is the SQL of what is returned of each new row, or what gives
    it once all apps are ready.
    """

    def __init__(
        self,
        model: type[models.Model],
        fields: Sequence[str],
        build: Callable[..., "models.QuerySet[Any, Any]"],
        returning: str | Callable[[], str],
        **parameters: "models.Field[Any, Any]",
    ) -> None:
        self.model = model
        self.fields = fields
        self.build = build
        self.returning = returning
        self.parameters = parameters
        self._compiled: dict[tuple[str, int | None], tuple[str, Values]] = {}

    def __call__(self, values: Sequence[dict[str, Any]]) -> Rows:
        """Insert for each of these values, and return what is asked of each new row."""
        return self.inserting(values).run()

    def inserting(self, values: Sequence[dict[str, Any]]) -> Statement[Rows]:
        """The same, as a statement to be run together with others."""
        connection = connections[DEFAULT_DB_ALIAS]
        number = rows_in_statement(len(values), connection)
        kind = connection.vendor, number
        if kind not in self._compiled:
            self._compiled[kind] = self._compile(connection, number)
        sql, params = self._compiled[kind]
        values_of = params.of if number else params.elements_of
        rows = [values_of(given, connection) for given in values]
        return Statement(sql, params_of_rows(rows, connection), lambda found: found)

    def _compile(self, connection: BaseDatabaseWrapper, number: int | None) -> tuple[str, Values]:
        queryset = self.build(**{name: Parameter(name, field) for name, field in self.parameters.items()})
        select, params = queryset.query.get_compiler(connection=connection).as_sql()
        quote = connection.ops.quote_name
        fields: list[Any] = [self.model._meta.get_field(name) for name in self.fields]
        columns = ", ".join(quote(field.column) for field in fields)
        table = quote(self.model._meta.db_table)
        if number is None:
            given, select, values = _for_each_row(select, params, connection)
            selects = f"SELECT found.* FROM {given} CROSS JOIN LATERAL ({select}) AS found"  # noqa: S608
        else:
            selects, values = " UNION ALL ".join([select] * number), Values(params)
        returned = self.returning if isinstance(self.returning, str) else self.returning()
        sql = f"INSERT INTO {table} ({columns}) {selects} RETURNING {returned}"  # noqa: S608
        return sql, values


def insert_rows(model: type[models.Model], names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows of a model, with values for these attributes of it, over one statement that is built once.

    Other columns get their default of the database's. Sends no signals. Raises IntegrityError as the database
    does.
    """
    if not rows:
        return
    connection = connections[DEFAULT_DB_ALIAS]
    sql, columns = _insert_many_statement(model, tuple(names), connection.vendor)
    if connection.vendor == "postgresql":
        prepared = [
            [column.element(value, connection) for column, value in zip(columns, row, strict=True)]
            for row in rows
        ]
    else:
        prepared = [
            [column.value(value, connection) for column, value in zip(columns, row, strict=True)]
            for row in rows
        ]
    _run_for_all(sql, prepared, connection)


def _run_for_all(sql: str, rows: Sequence[Sequence[Any]], connection: BaseDatabaseWrapper) -> None:
    """Run a statement for all of the rows: on PostgreSQL it takes them together, at a fraction of what a
    statement for each row costs."""
    if connection.vendor == "postgresql":
        execute(connection, sql, params_of_rows(rows, connection))
        return
    with connection.cursor() as cursor:
        cursor.executemany(sql, rows)


class CompiledChange:
    """Runs one UPDATE or DELETE, for many sets of values, that is built once.

    `build` gets a Parameter for each name and returns the QuerySet whose rows are changed; `changes`
    gets them too, and returns the new values by field. Without it the rows are deleted.
    """

    def __init__(
        self,
        build: Callable[..., "models.QuerySet[Any, Any]"],
        changes: Callable[..., dict[str, Any]] | None = None,
        **parameters: "models.Field[Any, Any]",
    ) -> None:
        self.build = build
        self.changes = changes
        self.parameters = parameters
        self._compiled: dict[str, tuple[str, Values]] = {}

    def __call__(self, values: Sequence[dict[str, Any]]) -> None:
        """Change what these values name."""
        if not values:
            return
        connection = connections[DEFAULT_DB_ALIAS]
        if connection.vendor not in self._compiled:
            self._compiled[connection.vendor] = self._compile(connection)
        sql, params = self._compiled[connection.vendor]
        values_of = params.elements_of if connection.vendor == "postgresql" else params.of
        _run_for_all(sql, [values_of(given, connection) for given in values], connection)

    def _compile(self, connection: BaseDatabaseWrapper) -> tuple[str, Values]:
        given = {name: Parameter(name, field) for name, field in self.parameters.items()}
        queryset = self.build(**given)
        query: Any
        if self.changes is None:
            query = queryset.query.chain(klass=DeleteQuery)
        else:
            query = queryset.query.chain(klass=UpdateQuery)
            query.add_update_values(self.changes(**given))
        sql, params = query.get_compiler(connection=connection).as_sql()
        if connection.vendor == "postgresql":
            return _for_arrays(sql, params, connection)
        return sql, Values(params)


def _for_arrays(sql: str, params: Sequence[Any], connection: BaseDatabaseWrapper) -> tuple[str, Values]:
    """The UPDATE or DELETE as PostgreSQL runs it for many rows of parameters at once."""
    given, own_sql, values = _for_each_row(sql, params, connection)
    change, _where, condition = own_sql.partition(" WHERE ")
    join = "USING" if change.startswith("DELETE") else "FROM"
    return f"{change} {join} {given} WHERE {condition}", values


def _for_each_row(
    sql: str, params: Sequence[Any], connection: BaseDatabaseWrapper
) -> tuple[str, str, Values]:
    """The rows of Parameters as a table of PostgreSQL's, the statement with its columns in their place, and
    the Parameters. Whatever else is a parameter must be a number."""
    values = [param for param in params if isinstance(param, Parameter)]
    names = [f"p{place}" for place in range(len(values))]
    columns = iter(names)
    marks = (f"given.{next(columns)}" if isinstance(param, Parameter) else f"{param:d}" for param in params)
    arrays = arrays_of([param.output_field for param in values], connection)
    # `%%` stays one of the driver's.
    own_sql = sql.replace("%%", "%%%%") % tuple(marks)
    return f"{arrays} AS given({', '.join(names)})", own_sql, Values(values)


@cache
def _constants(model: type[models.Model], given: tuple[str, ...]) -> dict[str, Any]:
    """What a new instance has in the attributes that are not given, where that is the same each time."""
    fields = [field for field in model._meta.local_concrete_fields if not field.primary_key]
    others = [field for field in fields if field.attname not in given and not is_made_anew(field)]
    defaults = {field.attname: field.get_default() for field in others}
    return {name: value for name, value in defaults.items() if literal(value)}


@cache
def _insert_statement(
    model: type[models.Model], vendor: str, number: int | None = 1, constant: tuple[str, ...] = ()
) -> tuple[str, list[Column]]:
    """Inserts this number of rows; None: those of PostgreSQL's arrays. The constant attributes get the
    model's defaults."""
    connection = connections[DEFAULT_DB_ALIAS]
    quote = connection.ops.quote_name
    every = [field for field in model._meta.local_concrete_fields if not field.primary_key]
    fields = [field for field in every if field.attname not in constant]
    fixed = [field for field in every if field.attname in constant]
    names = ", ".join(quote(str(field.column)) for field in [*fields, *fixed])
    table, key = quote(model._meta.db_table), quote(str(model._meta.pk.column))
    rows = values_of_rows(fields, number, connection, [literal(field.get_default()) for field in fixed])
    sql = f"INSERT INTO {table} ({names}) {rows} RETURNING {key}"  # noqa: S608
    return sql, list(map(Column, fields))


@cache
def _insert_unless_present_statement(
    model: type[models.Model],
    vendor: str,
    number: int | None,
    unique: "tuple[models.Field[Any, Any], ...]",
    also: str,
    constant: tuple[str, ...],
) -> tuple[str, list[Column]]:
    sql, columns = _insert_statement(model, vendor, number, constant)
    insert, _returning, key = sql.rpartition(" RETURNING ")
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    names = ", ".join(quote(str(field.column)) for field in unique)
    return f"{insert} ON CONFLICT ({names}) DO NOTHING RETURNING {names}, {key}, {also or 'FALSE'}", columns


@cache
def _insert_many_statement(
    model: type[models.Model], names: tuple[str, ...], vendor: str
) -> tuple[str, list[Column]]:
    connection = connections[DEFAULT_DB_ALIAS]
    quote = connection.ops.quote_name
    by_name = {field.attname: field for field in model._meta.local_concrete_fields}
    fields = [by_name[name] for name in names]
    columns = ", ".join(quote(str(field.column)) for field in fields)
    rows = values_of_rows(fields, None if vendor == "postgresql" else 1, connection)
    table = quote(model._meta.db_table)
    return f"INSERT INTO {table} ({columns}) {rows}", list(map(Column, fields))  # noqa: S608
