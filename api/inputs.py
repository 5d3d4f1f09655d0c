"""Request bodies as serializers: what each field may hold, in one place for the server and the schema."""

from functools import cache
from typing import Any, Self

from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError


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
        values: dict[str, Any] = cls.instance().run_validation(data)
        return values

    @classmethod
    def example(cls) -> dict[str, Any]:
        """A body that a client might send."""
        fields = cls.instance().fields
        return {name: field.initial for name, field in fields.items() if field.initial is not None}


class OptionalField(serializers.Field[Any, Any, Any, Any]):
    """A field that may be null, and missing, which is the same unless it has `required` or `default`."""

    def __init__(self, **kwargs: Any) -> None:
        if "required" not in kwargs:
            kwargs.setdefault("default", None)
        super().__init__(**{"allow_null": True, **kwargs})

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
