"""Reads rows of the document into objects, and notes what is wrong with them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.dateparse import parse_datetime

from accounts.models import User
from aliases.validation import clean_text
from core.addresses import AddressError
from core.exceptions import RuleError
from domains.models import Domain
from transfer.installation.document import NATURAL_KEYS, Row

Built = TypeVar("Built", bound=models.Model)


class Reading:
    """One document being read: the problems so far, and what is there that its rows may name."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.known: dict[type[models.Model], dict[str, Any]] = {
            model: {getattr(one, key): one for one in model._default_manager.all()}
            for model, key in NATURAL_KEYS.items()
        }
        self.own = {(row.user_id, row.email): row for row in EmailAddress.objects.all()}

    @contextmanager
    def reporting(self, place: str) -> Iterator[None]:
        """Note what is wrong with the row at this place, so that the next one can be read."""
        try:
            yield
        except ValidationError as error:
            fields = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
            sentence = " ".join(f"{field}: {', '.join(words)}" for field, words in fields.items())
            self.problems.append(f"{place}: {sentence}")
        except KeyError as error:
            self.problems.append(f"{place}: the key {error} is missing")
        except (RuleError, AddressError, ValueError, TypeError, AttributeError) as error:
            self.problems.append(f"{place}: {error}")

    def read(self, model: type[Built], row: Row, **values: Any) -> Built:
        """An object of the row's values, not saved. `values` go before; what is missing takes the default."""
        for field in model._meta.concrete_fields:
            if field.name == "id" or field.name in values or field.name not in row:
                continue
            value = row[field.name]
            if isinstance(value, str):
                clean_text(value)
            if field.related_model in self.known:
                value = self.one(field.related_model, value) if value else None
            elif isinstance(field, models.DateTimeField):
                value = _moment(value)
            values[field.name] = value
        return model(**values)

    def one(self, model: Any, key: Any) -> Any:
        """The object with this natural key. Raises ValueError."""
        if key not in self.known[model]:
            raise ValueError(f"there is no {model._meta.model_name} {key}")
        return self.known[model][key]

    def add(self, one: User | Domain, key: str) -> None:
        """Create a user or domain, to be known from now on. Raises ValueError, ValidationError."""
        if key in self.known[type(one)]:
            raise ValueError(f"the {one._meta.model_name} {key} is there already")
        self.known[type(one)][key] = created(one)


def created(one: Built, exclude: Sequence[str] = ()) -> Built:
    """The object, saved. Raises ValidationError."""
    one.full_clean(exclude=exclude)
    one.save(force_insert=True)
    return one


def text_of(row: Row, key: str) -> str:
    """The row's value of this key. Raises ValueError if it is no text."""
    if not isinstance(value := row.get(key), str):
        raise ValueError(f"{key} must be a text")
    return value


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    moment = parse_datetime(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{value!r} is not a date and time in ISO 8601 with a time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value!r} is outside the years 1 to 9999") from error
