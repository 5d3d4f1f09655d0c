"""What addy.io's clients send; what breaks a rule is refused by the name of its field (422)."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from django.utils.translation import gettext
from drf_spectacular.drainage import set_override
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.fields import empty

from accounts.models import User
from aliases import exceptions as refusals
from aliases import naming
from aliases.validation import clean_name, clean_note
from api import inputs
from api.addy.ids import UUIDInAnyCase, public_ids
from api.errors import Unprocessable
from api.listing import with_key
from core.exceptions import RuleError

# As addy.io's: aliases, addresses to block, and ids of those to take mail from again.
BULK_MAX, BLOCKED_MAX, UNBLOCKED_MAX = 25, 50, 500
CUSTOM = "custom"
# addy.io's formats; there are no lists of first names here, so words stand in for them.
STYLE_OF_FORMAT = {
    "random_characters": naming.CHARACTERS,
    "uuid": naming.UUID,
    "random_words": naming.WORDS,
    "random_male_name": naming.WORDS,
    "random_female_name": naming.WORDS,
    "random_noun": naming.WORDS,
}

# The field that a rule's refusal is about.
FIELD_OF_REFUSAL: dict[type[RuleError], str] = {
    refusals.DomainNotFound: "domain",
    refusals.DomainForbidden: "domain",
    refusals.NoUsableDomain: "domain",
    refusals.DestinationForbidden: "recipient_ids",
    refusals.NotAnAddress: "recipient_ids",
    refusals.AddressTaken: "local_part_without_extension",
}
EXAMPLE_ID = "50c9e585-e7f5-41c4-9016-9014c15454bc"
EXAMPLE_RECIPIENT_ID = "1b5e7c06-9f0a-8d21-a4c3-0f6d5e2b7a90"


@contextmanager
def refused_by_field(invalid: str) -> Iterator[None]:
    """Raise Unprocessable for a rule's refusal; `invalid`: the field whose value InvalidValue is about."""
    try:
        yield
    except RuleError as error:
        field = invalid if isinstance(error, refusals.InvalidValue) else FIELD_OF_REFUSAL.get(type(error))
        if field is None:
            raise
        raise Unprocessable(field, error) from error


class Input(inputs.Input):
    """A body or query string of addy.io's."""

    @classmethod
    def read(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The fields' values, checked. Raises Unprocessable for the first that is wrong."""
        try:
            return super().read(data)
        except ValidationError as error:
            details: Any = error.detail
            field, (sentence, *_more) = next(iter(details.items()))
            raise Unprocessable(field.replace("[", ".").rstrip("]"), sentence) from error


class TextField(inputs.TextField):
    """A text, trimmed; "" for null. `check` may raise InvalidValue for it."""

    def __init__(self, *, check: Callable[[str], object] | None = None, **kwargs: Any) -> None:
        super().__init__(**{"allow_null": False, **kwargs})
        self.check = check

    def run_validation(self, data: Any = empty) -> Any:
        return super().run_validation("" if data is None else data)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data).strip()
        if self.check:
            try:
                self.check(text)
            except refusals.InvalidValue as error:
                raise ValidationError(str(error)) from error
        return text


class RequiredTextField(TextField):
    """A text that may not be missing or empty."""

    def run_validation(self, data: Any = empty) -> Any:
        if text := super().run_validation(data):
            return text
        raise ValidationError(gettext("The field “%(name)s” is required.") % {"name": self.field_name})


class ChoiceField(TextField):
    """One of these words, or nothing."""

    def __init__(self, *choices: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choices = choices
        null = (None,) if self.allow_null else ()
        set_override(self, "field", {"type": "string", "enum": [*choices, *null]})

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if text and text not in self.choices:
            values = {"name": self.field_name, "choices": ", ".join(self.choices)}
            raise ValidationError(gettext("“%(name)s” must be one of: %(choices)s.") % values)
        return text


ID = {"type": "string", "format": "uuid"}
_UUID = re.compile(UUIDInAnyCase.regex)


def parse_id(value: object) -> UUID | None:
    """The id in this text; None for anything else."""
    return UUID(value) if isinstance(value, str) and _UUID.fullmatch(value) else None


@extend_schema_field(ID)
class IdField(RequiredTextField):
    """An id; None for a text that is not an id."""

    def run_validation(self, data: Any = empty) -> UUID | None:
        return parse_id(super().run_validation(data))


@extend_schema_field({"type": "array", "items": ID, "minItems": 1, "maxItems": BULK_MAX})
class IdsField(inputs.OptionalField):
    """The ids in an array of 1 to 25, without repetitions."""

    most = BULK_MAX

    def run_validation(self, data: Any = empty) -> list[UUID | None]:
        ids = [parse_id(value) for value in data] if isinstance(data, list) else []
        if None in ids or not 1 <= len(ids) <= self.most:
            values = {"name": self.field_name, "max": self.most}
            raise ValidationError(
                gettext("The field “%(name)s” must be an array of 1 to %(max)s ids.") % values
            )
        return list(dict.fromkeys(ids))


@extend_schema_field({"type": "array", "items": ID, "minItems": 1, "maxItems": UNBLOCKED_MAX})
class ManyIdsField(IdsField):
    """The ids in an array of 1 to 500, without repetitions."""

    most = UNBLOCKED_MAX


@extend_schema_field({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": BLOCKED_MAX})
class ValuesField(inputs.OptionalField):
    """The texts in an array of 1 to 50."""

    def run_validation(self, data: Any = empty) -> list[str]:
        is_texts = isinstance(data, list) and all(isinstance(value, str) for value in data)
        if not is_texts or not 1 <= len(data) <= BLOCKED_MAX:
            values = {"name": self.field_name, "max": BLOCKED_MAX}
            raise ValidationError(
                gettext("The field “%(name)s” must be an array of 1 to %(max)s texts.") % values
            )
        return list(data)


@extend_schema_field({"type": "array", "items": ID})
class RecipientIdsField(inputs.OptionalField):
    """The texts in an array: ids, if they are known."""

    def to_internal_value(self, data: Any) -> list[str]:
        if not isinstance(data, list) or not all(isinstance(value, str) for value in data):
            raise ValidationError(gettext("“recipient_ids” must be an array of ids."))
        return data


class WholeField(inputs.OptionalField):
    """A whole number from 1 in a query string."""

    def __init__(self, *, most: int, **kwargs: Any) -> None:
        super().__init__(allow_null=False, **kwargs)
        self.most = most
        set_override(self, "field", {"type": "integer", "minimum": 1, "maximum": most})

    def to_internal_value(self, data: str) -> int:
        if not data:
            return int(self.get_default() or 1)
        if not (data.isascii() and data.isdigit()) or len(data) > 10 or not 1 <= int(data) <= self.most:
            values = {"name": self.field_name, "max": self.most}
            raise ValidationError(gettext("“%(name)s” must be a whole number from 1 to %(max)s.") % values)
        return int(data)


class Query(Input):
    """A query string: a field `page_size` reads `page[size]`."""

    def get_fields(self) -> dict[str, Any]:
        return {re.sub(r"_(\w+)", r"[\1]", name): field for name, field in super().get_fields().items()}


class NewAlias(Input):
    domain = RequiredTextField(initial="example.com")
    description = TextField(check=clean_note, allow_null=True, initial="Website: www.github.com. work")
    format = ChoiceField(*STYLE_OF_FORMAT, CUSTOM, allow_null=True)
    recipient_ids = RecipientIdsField()


class NewChosenAlias(NewAlias):
    local_part = RequiredTextField()


class AliasChanges(Input):
    description = TextField(check=clean_note, allow_null=True, initial="work")
    from_name = TextField(check=clean_name, allow_null=True)


class AliasId(Input):
    id = IdField(initial=EXAMPLE_ID)


class AliasRecipientIds(Input):
    alias_id = IdField(initial=EXAMPLE_ID)
    recipient_ids = RecipientIdsField(initial=[EXAMPLE_RECIPIENT_ID])


class AliasIds(Input):
    ids = IdsField(allow_null=False, initial=[EXAMPLE_ID])


class AliasIdsAndRecipientIds(AliasIds):
    recipient_ids = RecipientIdsField(initial=[EXAMPLE_RECIPIENT_ID])


def own_addresses(user: User, recipient_ids: list[str] | None) -> list[str] | None:
    """The user's verified addresses that have these ids; None for none. Raises Unprocessable."""
    if not recipient_ids:
        return None
    return [row.email for row in own_recipients(user, recipient_ids)]


def own_recipients(user: User, recipient_ids: list[str] | None) -> list[EmailAddress]:
    """The same with their keys; the primary one for none."""
    rows: Any = with_key(EmailAddress.objects.filter(user=user, verified=True))
    if not recipient_ids:
        return [row for row in rows if row.primary]
    mine: dict[UUID | None, EmailAddress] = {
        key: row for row in rows for key in public_ids("recipient", row.pk)
    }
    try:
        return [mine[parse_id(value)] for value in recipient_ids]
    except KeyError as error:
        raise Unprocessable(
            "recipient_ids",
            gettext(
                "A destination is not one of your verified addresses. Verify it first, on the page Addresses."
            ),
        ) from error
