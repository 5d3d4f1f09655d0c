"""What is handed to the driver without asking the field is what the field would hand to it."""

import pytest
from django.apps import apps
from django.db import connection

from aliases.models import Alias
from core.db.parameters import plain_type
from domains.models import Domain

SAMPLES = {str: ["", "Ünicode.TEST ", "x" * 300], bool: [True, False]}
FIELDS = [field for model in apps.get_models() for field in model._meta.concrete_fields]


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_plain_values_are_what_django_writes(field: object) -> None:
    for value in SAMPLES.get(plain_type(field), []):  # type: ignore[arg-type, call-overload]
        written = field.get_db_prep_save(value, connection)  # type: ignore[attr-defined]
        assert (written, type(written)) == (value, type(value))


def test_a_field_that_changes_texts_is_asked() -> None:
    assert plain_type(Domain._meta.get_field("name")) is None
    assert plain_type(Alias._meta.get_field("address")) is str
    assert plain_type(Alias._meta.get_field("enabled")) is bool
    assert plain_type(Alias._meta.get_field("forwards")) is None
