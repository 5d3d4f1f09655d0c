"""Whose addresses an alias may forward to, and whose stand in its way."""

from collections.abc import Sequence
from typing import Any

from allauth.account.models import EmailAddress
from django.db import models
from django.db.models import Exists, Q
from django.utils.translation import gettext

from accounts.models import AddressChange, User
from aliases import exceptions as refusals
from aliases.beside import with_rows_beside
from aliases.local_parts import resolved_form
from core.db.compiled import CompiledQuery


def _own_addresses(which: Q, user_id: Any, address: Any, tagged: Any, at_domain: Any) -> Any:
    """The verified addresses of a user that `which` names, and whoever's that stands in an alias's way."""
    mine = Q(user_id=user_id, verified=True) & which
    found = EmailAddress.objects.filter(mine | _in_the_way(address, tagged, at_domain))
    return with_rows_beside(found.annotate(is_held=_is_held(address)))


def _in_the_way(address: Any, tagged: Any, at_domain: Any) -> Q:
    return Q(email=address) | Q(email__prefix=tagged, email__endswith=at_domain)


def _is_held(address: Any) -> Exists:
    """Whether an address that was removed a moment ago, and may come back, stands in the way."""
    return Exists(AddressChange.objects.holding_alias(address))


def _primary_address(**values: Any) -> models.QuerySet[Any, Any]:
    rows: models.QuerySet[Any, Any] = _own_addresses(Q(primary=True), **values)
    return rows


FIELDS: dict[str, models.Field[Any, Any]] = {
    "user_id": models.BigIntegerField(),
    "address": models.CharField(),
    "tagged": models.CharField(),
    "at_domain": models.CharField(),
}
_PRIMARY = CompiledQuery(_primary_address, **FIELDS)


def primary_unless_taken(
    user_id: Any, address: Any, tagged: Any, at_domain: Any
) -> models.QuerySet[Any, Any]:
    """The user's primary address; nothing if any own address may stand in the alias's way."""
    in_the_way = EmailAddress.objects.filter(_in_the_way(address, tagged, at_domain))
    rows: models.QuerySet[Any, Any] = EmailAddress.objects.filter(
        user_id=user_id, verified=True, primary=True
    )
    return rows.exclude(Exists(in_the_way) | _is_held(address))


def values_of(owner: User, alias_address: str) -> dict[str, Any]:
    """The values for FIELDS."""
    local_part, _at, domain_name = alias_address.partition("@")
    values = {"user_id": owner.pk, "address": alias_address}
    return values | {"tagged": f"{local_part}+", "at_domain": f"@{domain_name}"}


def verified_addresses(owner: User, wanted: Sequence[str] | None, alias_address: str) -> list[EmailAddress]:
    """The owner's verified addresses of these names, in this order; None: the primary one.

    One statement, which also looks whether anyone has `alias_address` as an own address, with a
    `+tag` or without; another one if somebody has it who has not verified it. In a transaction. Raises
    AddressTaken, and DestinationForbidden.
    """
    values = values_of(owner, alias_address)
    rows = _PRIMARY(**values) if wanted is None else _own_addresses(Q(email__in=wanted), **values)
    found, in_the_way = {}, []
    for row in rows:
        if row.is_held:
            raise _taken()
        if resolved_form(row.email) == alias_address:
            in_the_way.append(row)
        else:
            found[row.email] = row
    if in_the_way and _is_somebodys(in_the_way):
        raise _taken()
    if wanted is None:
        wanted = list(found)
    if not wanted or any(address not in found for address in wanted):
        raise refusals.DestinationForbidden(
            gettext(
                "A destination is not one of your verified addresses. Verify it first, on the page Addresses."
            )
        )
    return [found[address] for address in wanted]


def is_someones(address: str) -> bool:
    """Whether somebody signs in with this address, receives at it, or did a moment ago: with a `+tag` or
    without. Anybody can add an address and never verify it, so that counts for nothing.
    """
    local_part, _at, domain_name = address.partition("@")
    in_the_way = _in_the_way(address, f"{local_part}+", f"@{domain_name}")
    return (
        EmailAddress.objects.filter(in_the_way, verified=True).exists()
        or AddressChange.objects.holding_alias(address).exists()
    )


def _is_somebodys(in_the_way: Sequence[EmailAddress]) -> bool:
    """Whether somebody has verified one of these addresses. If not, nobody does so before the end of the
    transaction, and then the address is found to be an alias."""
    if any(row.verified for row in in_the_way):
        return True
    rows = EmailAddress.objects.filter(pk__in=[row.pk for row in in_the_way]).order_by("pk")
    return any(row.verified for row in rows.select_for_update(no_key=True))


def _taken() -> refusals.AddressTaken:
    return refusals.AddressTaken(gettext("This address is taken."))
