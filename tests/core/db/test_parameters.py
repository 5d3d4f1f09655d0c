"""What is handed to the driver without asking the field is what the field would hand to it."""

from datetime import UTC, datetime

import pytest
from django.apps import apps
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from aliases.models import Alias
from core.db.parameters import array, element_type, plain_type
from domains.models import Domain

SAMPLES = {
    str: ["", "Ünicode.TEST ", "x" * 300],
    bool: [True, False],
    int: [0, -1, 2**40],
    datetime: [datetime(2026, 11, 26, 1, 2, 3, 4, UTC), datetime(2026, 11, 26, tzinfo=UTC)],
}
FIELDS = [field for model in apps.get_models() for field in model._meta.concrete_fields]


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_plain_values_are_what_django_writes(field: object) -> None:
    for value in SAMPLES.get(plain_type(field), []):  # type: ignore[arg-type, call-overload]
        written = field.get_db_prep_save(value, connection)  # type: ignore[attr-defined]
        assert (written, type(written)) == (value, type(value))


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_plain_elements_of_an_array_are_what_django_writes(field: object) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no arrays")
    for value in SAMPLES.get(element_type(field), []):  # type: ignore[arg-type, call-overload]
        written = field.get_db_prep_save(value, connection)  # type: ignore[attr-defined]
        assert array([value]) == array([written])


def test_numbers_and_moments_are_plain_elements() -> None:
    assert element_type(Alias._meta.get_field("forwards")) is int
    assert element_type(Alias._meta.get_field("active_at")) is datetime
    assert element_type(Alias._meta.get_field("domain")) is int
    assert element_type(Domain._meta.get_field("name")) is None


def test_a_field_that_changes_texts_is_asked() -> None:
    assert plain_type(Domain._meta.get_field("name")) is None
    assert plain_type(Alias._meta.get_field("address")) is str
    assert plain_type(Alias._meta.get_field("enabled")) is bool
    assert plain_type(Alias._meta.get_field("forwards")) is None


@given(
    st.lists(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.sampled_from(['"', "\\", '","', ""]))
    )
)
def test_an_array_has_its_values_as_arrays_of_one_have_them(values: list[object]) -> None:
    assert array(values) == f"{{{','.join(array([value])[1:-1] for value in values)}}}"
