"""The first page of a reader's whole list, in two statements that are built once."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from django.db import models

from accounts.models import User
from aliases.filters import COUNTED_MAX, ORDERS, rows_of
from aliases.models import Alias, AliasDestination
from core.db.compiled import CompiledQuery, CountOf
from core.pagination import Page, page_from

PAGE_SIZE = 25


def first_page(user: User, order: str) -> tuple[Page[Alias], int]:
    """The user's first aliases in one of the ORDERS, and how many there are, up to one more than
    COUNTED_MAX."""
    rows = _rows(order)(owner=user.pk, most=COUNTED_MAX + 1)
    _note_destinations(rows)
    return page_from(rows, ORDERS[order], PAGE_SIZE), rows[0].found if rows else 0


def _build(owner: Any, most: Any, *, order: str) -> Any:
    found = CountOf(Alias.objects.owned_by(owner).present(), most)
    return rows_of(owner).present().annotate(found=found).order_by(*ORDERS[order])[: PAGE_SIZE + 1]


@cache
def _rows(order: str) -> CompiledQuery:
    return CompiledQuery(
        partial(_build, order=order), owner=models.BigIntegerField(), most=models.BigIntegerField()
    )


_LINKS = CompiledQuery(
    lambda alias_ids: AliasDestination.objects.filter(alias__id__among=alias_ids).select_related("address"),
    alias_ids=models.BigIntegerField(),
)


def _note_destinations(aliases: Sequence[Alias]) -> None:
    """Let the aliases know where their mail goes."""
    if not aliases:
        return
    addresses = defaultdict(list)
    for link in _LINKS(alias_ids=[alias.pk for alias in aliases]):
        addresses[link.alias_id].append(link.address)
    for alias in aliases:
        alias.destination_addresses = addresses[alias.pk]
