"""Keyset pagination: the last page of a list costs as much as the first, and rows never repeat."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.db import models
from django.db.models import Q
from django.utils.dateparse import parse_datetime

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """One page of rows, and the cursor of the next one; "" on the last page."""

    rows: list[Row]
    next_cursor: str


def page_of(rows: "models.QuerySet[Row]", order: Sequence[str], cursor: str, size: int) -> Page[Row]:
    """The page of `rows` after `cursor` ("" for the first) in this order.

    `order` names fields as `order_by` does; the last one must be unique, none may be null. A malformed
    cursor, or one of another order, gives the first page.
    """
    ordered = rows.order_by(*order)
    if (values := _read(cursor, rows.model, order)) is not None:
        ordered = ordered.filter(_after(order, values))
    return page_from(list(ordered[: size + 1]), order, size)


def page_from(found: list[Row], order: Sequence[str], size: int) -> Page[Row]:
    """The page of rows that were found in this order, one more than fit on it if there are as many."""
    rows = found[:size]
    return Page(rows, _write(rows[-1], order) if len(found) > size else "")


def _after(order: Sequence[str], values: Sequence[Any]) -> Q:
    """Rows that come after these values: the first field differs, or it is equal and the next one does."""
    first, value = order[0], values[0]
    name = first.removeprefix("-")
    beyond = "lt" if first.startswith("-") else "gt"
    if len(order) == 1:
        return Q(**{f"{name}__{beyond}": value})
    # The first condition bounds the index scan; the rest handles equal values.
    bound = Q(**{f"{name}__{beyond}e": value})
    return bound & (Q(**{f"{name}__{beyond}": value}) | Q(_after(order[1:], values[1:])))


def _write(row: models.Model, order: Sequence[str]) -> str:
    values: list[Any] = [",".join(order)]
    for field in order:
        value = getattr(row, field.removeprefix("-"))
        values.append(value.isoformat() if isinstance(value, datetime) else value)
    text = json.dumps(values, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str, model: type[models.Model], order: Sequence[str]) -> list[Any] | None:
    if not cursor or len(cursor) > 2000:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        values = json.loads(text)
        if not isinstance(values, list) or values[:1] != [",".join(order)] or len(values) != len(order) + 1:
            return None
        return [
            _value(model._meta.get_field(field.removeprefix("-")), value)
            for field, value in zip(order, values[1:], strict=True)
        ]
    except (ValueError, OverflowError, TypeError, RecursionError):
        return None


def _value(field: Any, value: Any) -> Any:
    """The value as the field's type. Raises ValueError for another type."""
    if isinstance(field, models.DateTimeField):
        moment = parse_datetime(value) if isinstance(value, str) else None
        if moment is None or moment.tzinfo is None:
            raise ValueError("no moment")
        return moment.astimezone(UTC)
    if isinstance(field, models.BooleanField):
        if not isinstance(value, bool):
            raise ValueError("no truth value")
        return value
    if isinstance(field, models.IntegerField):
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
            raise ValueError("no number")
        return value
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError("no text")
    value.encode()  # half a surrogate pair is a UnicodeEncodeError, which is a ValueError
    return value
