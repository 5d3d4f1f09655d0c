"""What Django's converters make of the values in rows, at a fraction of what its own way to call them costs.

SQLite's driver has made a moment or a truth value of most of them already.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

Conversion = tuple[int, Callable[[Any], Any]]


def conversions_of(converters: Any, connection: BaseDatabaseWrapper) -> list[Conversion]:
    """The columns whose values are converted, and how, from what a compiler's `get_converters` says."""
    return [
        (place, _conversion(functions, expression, connection))
        for place, (functions, expression) in converters.items()
    ]


def converted(rows: Iterable[Sequence[Any]], conversions: Sequence[Conversion]) -> Iterator[list[Any]]:
    """The rows with the values of these columns converted."""
    for row in rows:
        values = list(row)
        for place, convert in conversions:
            values[place] = convert(values[place])
        yield values


def _conversion(functions: Sequence[Any], expression: Any, connection: Any) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        for function in functions:
            value = function(value, expression, connection)
        return value

    if connection.vendor != "sqlite" or len(functions) != 1:
        return convert
    (function,) = functions
    if function == connection.ops.convert_datetimefield_value:
        return partial(_moment, connection.timezone, convert)
    if function == connection.ops.convert_booleanfield_value:
        return partial(_truth, convert)
    return convert


def _moment(zone: Any, convert: Callable[[Any], Any], value: Any) -> Any:
    if value.__class__ is datetime and value.tzinfo is None and zone is not None:
        return value.replace(tzinfo=zone)
    return value if value is None else convert(value)


def _truth(convert: Callable[[Any], Any], value: Any) -> Any:
    return value if value is None or value.__class__ is bool else convert(value)
