"""Request bodies as serializers: what each field may hold, in one place for the server and the schema."""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any, Self

from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.fields import SkipField, empty

Field = serializers.Field[Any, Any, Any, Any]


class Input(serializers.Serializer[Any]):
    """A request's body. Fields that it does not name are ignored.

    A field's `initial` is its value in the schema's example.
    """

    @classmethod
    @cache
    def instance(cls) -> Self:
        """The one instance that reads all requests: to make one takes longer than to read."""
        return cls()

    @classmethod
    def read(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The fields' values, checked. Raises ValidationError."""
        return cls.instance()._read(data)

    @cached_property
    def _checks(self) -> list[tuple[str, Field, Callable[[Any], Any] | None]]:
        """Each field's name, the field, and the serializer's own method `validate_<name>`."""
        return [(name, field, getattr(self, f"validate_{name}", None)) for name, field in self.fields.items()]

    def _read(self, data: dict[str, Any]) -> dict[str, Any]:
        # REST framework's own looks for nested serializers and HTML forms too, at five times the cost.
        values: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        for name, field, validate in self._checks:
            try:
                value = field.run_validation(data.get(name, empty))
                values[name] = validate(value) if validate else value
            except ValidationError as error:
                errors[name] = error.detail
            except SkipField:
                continue
        if errors:
            raise ValidationError(errors)
        checked: dict[str, Any] = self.validate(values)
        return checked

    @classmethod
    def example(cls) -> dict[str, Any]:
        """A body that a client might send."""
        fields = cls.instance().fields
        return {name: field.initial for name, field in fields.items() if field.initial is not None}


class OptionalField(Field):
    """A field that may be null, and missing, which is the same unless it has `required` or `default`."""

    def __init__(self, **kwargs: Any) -> None:
        if "required" not in kwargs:
            kwargs.setdefault("default", None)
        super().__init__(**{"allow_null": True, **kwargs})

    def run_validation(self, data: Any = empty) -> Any:
        if data is empty and self.default is None:
            return None
        if data is empty or data is None:
            return super().run_validation(data)
        return self.to_internal_value(data)

    def to_internal_value(self, data: Any) -> Any:
        return data


@extend_schema_field({"type": "string"})
class TextField(OptionalField):
    """A string, exactly as it was sent."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise ValidationError(
                gettext("The field “%(name)s” must be a string.") % {"name": self.field_name}
            )
        return data


@extend_schema_field({"type": "boolean"})
class FlagField(OptionalField):
    """true or false, and nothing that resembles them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise ValidationError(
                gettext("The field “%(name)s” must be true or false.") % {"name": self.field_name}
            )
        return data
