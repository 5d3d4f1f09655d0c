"""Values in rows: converted as Django converts them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, models

from core.db.conversions import conversions_of, converted

pytestmark = pytest.mark.django_db

MOMENT = datetime(2026, 11, 27, 12, 30, 15, 7)
FIELDS: list[tuple[models.Field[Any, Any], list[Any]]] = [
    (
        models.DateTimeField(),
        [None, MOMENT, MOMENT.replace(tzinfo=UTC), "2026-11-27 12:30:15.000007", "2026-11-27 12:30:15"],
    ),
    (models.BooleanField(), [None, True, False, 1, 0, 7]),
    (models.UUIDField(), [None, "0123456789abcdef0123456789abcdef"]),
    (models.JSONField(), [None, '{"a": [1]}', "null"]),
    (models.DurationField(), [None, 90_000_000]),
]


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL's driver makes most values itself")
@pytest.mark.parametrize(("field", "values"), FIELDS)
def test_a_value_becomes_what_django_makes_of_it(field: models.Field[Any, Any], values: list[Any]) -> None:
    expression = models.Value(None, output_field=field)
    functions = [
        *connection.ops.get_db_converters(expression),
        *expression.get_db_converters(connection),
    ]
    assert functions

    for value in values:
        expected = value
        for function in functions:
            expected = function(expected, expression, connection)
        ((before, found, after),) = converted(
            [("x", value, 5)], conversions_of({1: (functions, expression)}, connection)
        )
        assert (before, found, after) == ("x", expected, 5)
        assert type(found) is type(expected)
