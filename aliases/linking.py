"""Linking new aliases to their owners' primary addresses."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from allauth.account.models import EmailAddress
from django.db import models

from aliases.beside import put_beside, returned_beside
from aliases.destinations import FIELDS, primary_unless_taken, values_of
from aliases.models import Alias, AliasDestination
from core.db.changes import CompiledInsert
from core.db.instances import maker_of
from core.db.own_rows import IsOwnRow
from core.db.statements import Rows
from core.db.together import Statement


def _returned() -> str:
    email = "(SELECT email FROM account_emailaddress WHERE id = address_id)"
    return f"alias_id, address_id, {email}{returned_beside()}"


def _to_primary(alias: Any, **values: Any) -> models.QuerySet[Any, Any]:
    return primary_unless_taken(**values).values_list(alias, "pk")


def _own_row_to_primary(address: Any, **values: Any) -> models.QuerySet[Any, Any]:
    alias = models.Subquery(Alias.objects.filter(IsOwnRow(), address=address).order_by().values("pk"))
    rows: models.QuerySet[Any, Any] = primary_unless_taken(address=address, **values)
    rows = rows.annotate(new_alias=alias).filter(new_alias__isnull=False)
    return rows.values_list("new_alias", "pk")


_LINK = CompiledInsert(
    AliasDestination,
    ("alias", "address"),
    _to_primary,
    _returned,
    alias=models.BigIntegerField(),
    **FIELDS,
)
_LINK_OWN_ROWS = CompiledInsert(
    AliasDestination, ("alias", "address"), _own_row_to_primary, _returned, **FIELDS
)


def link_to_primary(aliases: Sequence[Alias]) -> set[int]:
    """Link new aliases to their owners' primary addresses, and return the keys of those that were linked: not
    those where that is not verified, or an own address stands in the alias's way."""
    if not aliases:
        return set()
    rows = _LINK([{"alias": alias.pk, **_values_of(alias)} for alias in aliases])
    return _note_links(aliases, rows)


def linking_to_primary(aliases: Sequence[Alias]) -> Statement[set[int]]:
    """The same, to be run together with the insertion, if `knows_own_rows`. Those that were not inserted are
    not linked."""
    linking = _LINK_OWN_ROWS.inserting(list(map(_values_of, aliases)))
    return Statement(linking.sql, linking.params, lambda rows: _note_links(aliases, rows))


def _values_of(alias: Alias) -> dict[str, Any]:
    assert alias.owner  # It is new.
    return values_of(alias.owner, alias.address)


@cache
def _make_address() -> Callable[[Sequence[Any]], EmailAddress]:
    return maker_of(EmailAddress, ("id", "email", "user_id", "verified", "primary"))


def _note_links(aliases: Sequence[Alias], rows: Rows) -> set[int]:
    by_key = {alias.pk: alias for alias in aliases}
    for key, address_key, email, *beside in rows:
        alias = by_key[key]
        address = _make_address()((address_key, email, alias.owner_id, True, True))
        put_beside(address, beside)
        alias.destination_addresses = [address]
    return {key for key, *_address in rows}
