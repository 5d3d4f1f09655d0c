"""Whose addresses an alias may forward to, and whose stand in its way."""

from collections.abc import Sequence
from typing import Any

from allauth.account.models import EmailAddress
from django.db import models
from django.db.models import Exists, Q
from django.utils.translation import gettext

from accounts.models import AddressChange, User
from aliases import exceptions as refusals
from aliases.local_parts import resolved_form
from core.db.compiled import CompiledQuery


def _own_addresses(which: Q, user_id: Any, address: Any, tagged: Any, at_domain: Any) -> Any:
    """The verified addresses of a user that `which` names, and whoever's that stands in an alias's way."""
    mine = Q(user_id=user_id, verified=True) & which
    in_the_way = Q(email=address) | Q(email__prefix=tagged, email__endswith=at_domain)
    # An address that was removed a moment ago may come back.
    is_held = Exists(AddressChange.objects.holding_alias(address))
    return EmailAddress.objects.filter(mine | in_the_way).annotate(is_held=is_held)


def _primary_address(**values: Any) -> models.QuerySet[Any, Any]:
    rows: models.QuerySet[Any, Any] = _own_addresses(Q(primary=True), **values)
    return rows


_PRIMARY = CompiledQuery(
    _primary_address,
    user_id=models.BigIntegerField(),
    address=models.CharField(),
    tagged=models.CharField(),
    at_domain=models.CharField(),
)


def verified_addresses(owner: User, wanted: Sequence[str] | None, alias_address: str) -> list[EmailAddress]:
    """The owner's verified addresses of these names, in this order; None: the primary one.

    One statement, which also looks whether anyone has `alias_address` as an own address, with a
    `+tag` or without. Raises AddressTaken if so, and DestinationForbidden.
    """
    local_part, _at, domain_name = alias_address.partition("@")
    values = {"user_id": owner.pk, "address": alias_address}
    values |= {"tagged": f"{local_part}+", "at_domain": f"@{domain_name}"}
    rows = _PRIMARY(**values) if wanted is None else _own_addresses(Q(email__in=wanted), **values)
    found = {}
    for row in rows:
        if row.is_held or resolved_form(row.email) == alias_address:
            raise refusals.AddressTaken(gettext("This address is taken."))
        found[row.email] = row
    if wanted is None:
        wanted = list(found)
    if not wanted or any(address not in found for address in wanted):
        raise refusals.DestinationForbidden(
            gettext(
                "A destination is not one of your verified addresses. Verify it first, on the page Addresses."
            )
        )
    return [found[address] for address in wanted]
