"""What other apps keep beside an own address, for whoever is told of an alias that was just made.

Such an app says so when it is ready; the rows are then read in statements that are needed anyway.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from allauth.account.models import EmailAddress
from django.db import connection

from core.db.instances import maker_of


@dataclass(frozen=True)
class _Beside:
    """A row that another app keeps for an own address, and which of its fields are told with an alias."""

    relation: str
    fields: tuple[str, ...]

    @cached_property
    def _of_address(self) -> Any:
        return EmailAddress._meta.get_field(self.relation)

    @cached_property
    def _key(self) -> Any:
        """The field that names the address."""
        return self._of_address.field

    @cached_property
    def _fields(self) -> list[Any]:
        return [self._key.model._meta.get_field(name) for name in self.fields]

    @cached_property
    def _make(self) -> Callable[[Sequence[Any]], Any]:
        return maker_of(self._key.model, (self._key.attname, *self.fields))

    def select(self, addresses: Any) -> Any:
        """The same addresses, each with this row, in the same statement."""
        columns = [field.name for field in self._key.model._meta.concrete_fields]
        others = {*columns} - {*self.fields, self._key.name}
        return addresses.select_related(self.relation).defer(*(f"{self.relation}__{name}" for name in others))

    def returned(self) -> list[str]:
        """The fields as SQL, in a statement whose new rows have an `address_id`."""
        quote, model = connection.ops.quote_name, self._key.model
        table, key = quote(model._meta.db_table), quote(self._key.column)
        columns = (quote(model._meta.get_field(name).column) for name in self.fields)
        return [f"(SELECT {column} FROM {table} WHERE {key} = address_id)" for column in columns]  # noqa: S608

    def put(self, address: EmailAddress, values: Sequence[Any]) -> None:
        """Let the address know its row by what `returned` has given: none if it has none."""
        row = None
        if values[0] is not None:
            # SQLite has numbers for true and false.
            known = [field.to_python(value) for field, value in zip(self._fields, values, strict=True)]
            row = self._make((address.pk, *known))
        self._of_address.set_cached_value(address, row)


_beside: list[_Beside] = []


def tell_with_destinations(relation: str, *fields: str) -> None:
    """Read these fields of a one-to-one relation of own addresses, the first of which is never null, with the
    destinations of a new alias: its maker is told of them at the price of no statement. Call it in
    `AppConfig.ready`."""
    _beside.append(_Beside(relation, fields))


def with_rows_beside(addresses: Any) -> Any:
    """The same addresses, with what is told of each, in the same statement."""
    for beside in _beside:
        addresses = beside.select(addresses)
    return addresses


def returned_beside() -> str:
    """The same for new rows, as SQL: to be put after the statement's last column."""
    return "".join(f", {column}" for beside in _beside for column in beside.returned())


def put_beside(address: EmailAddress, values: Sequence[Any]) -> None:
    """Let the address know what `returned_beside` has given."""
    for beside in _beside:
        own, values = values[: len(beside.fields)], values[len(beside.fields) :]
        beside.put(address, own)
