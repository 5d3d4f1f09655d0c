"""Moments as the databases' drivers give and take them: the same as through Django, by a shorter road."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import connection

from core.db.parameters import Column, moment
from core.ratelimit import Counter

EVERY = [
    datetime(2026, 11, 27, 21, 5, 9, tzinfo=UTC),
    datetime(2026, 11, 27, 21, 5, 9, 1, tzinfo=UTC),
    datetime(2026, 11, 27, 21, 5, 9, 120000, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]
IN_BERLIN = datetime(2026, 11, 27, 22, 5, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize("given", EVERY)
def test_a_moment_is_given_to_the_driver_as_django_gives_it(given: datetime) -> None:
    assert moment(given, connection) == connection.ops.adapt_datetimefield_value(given)


@pytest.mark.parametrize("given", [*EVERY, IN_BERLIN, None])
def test_a_column_takes_moments_as_its_field_does(given: Any) -> None:
    field = Counter._meta.get_field("expires")

    assert Column(field).value(given, connection) == field.get_db_prep_save(given, connection)


def test_a_moment_without_a_zone_is_warned_of_as_by_its_field() -> None:
    naive = datetime(2026, 11, 27)  # noqa: DTZ001 - that is the point

    with pytest.warns(RuntimeWarning, match="naive"):
        Column(Counter._meta.get_field("expires")).value(naive, connection)


@pytest.mark.postgresql
@pytest.mark.django_db
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("given", [*EVERY[:3], IN_BERLIN])
def test_postgresqls_moments_are_read_as_django_reads_them(zone: str, given: datetime) -> None:
    connection.ensure_connection()
    raw: Any = connection.connection
    loader = raw.adapters.get_loader(1184, 0)
    assert loader.__mro__[1].__name__ == "SpecificTzLoader"
    raw.execute("SELECT set_config('TimeZone', %s, true)", [zone])
    written: Any = raw.execute("SELECT %s::timestamptz::text", [given]).fetchone()[0]

    quick, djangos = (kind(1184, raw) for kind in (loader, loader.__mro__[1]))

    assert quick.load(written.encode()) == djangos.load(written.encode())
    assert quick.load(written.encode()).tzinfo is djangos.load(written.encode()).tzinfo


@pytest.mark.postgresql
@pytest.mark.django_db
@pytest.mark.parametrize(
    "written", [b"infinity", b"0044-03-15 00:00:00+00 BC", b"10000-01-01 00:00:00+00", b"x"]
)
def test_what_is_no_moment_of_pythons_is_refused_as_by_django(written: bytes) -> None:
    connection.ensure_connection()
    raw: Any = connection.connection
    loader = raw.adapters.get_loader(1184, 0)

    errors = []
    for kind in (loader, loader.__mro__[1]):
        with pytest.raises(raw.DataError) as caught:
            kind(1184, raw).load(written)
        errors.append(str(caught.value))

    assert errors[0] == errors[1]
