"""A page of aliases with their destinations, read in one statement."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from aliases.models import Alias, AliasQuerySet
from core.db.compiled import RowsFrom
from core.db.parameters import Parameter

InOrder = Callable[[AliasQuerySet], AliasQuerySet]


class Destination(NamedTuple):
    """What a list shows of an EmailAddress, by its names."""

    pk: int
    email: str
    verified: bool


_DESTINATION = [f"destination_links__address__{field}" for field in Destination._fields]


def in_order(*, activity: bool) -> InOrder:
    """Pinned ones first, then by their last mail; by creation for a token that may not read activity, which
    the order would reveal."""
    return AliasQuerySet.recent_first if activity else AliasQuerySet.newest_first


def page_rows(
    aliases: AliasQuerySet,
    start: int | Parameter,
    size: int,
    in_order: InOrder,
    columns: Sequence[str],
    extend: Callable[[AliasQuerySet], AliasQuerySet] = AliasQuerySet.all,
) -> Any:
    """These columns, from `pk` on, of `size` of the aliases: a row for each of their destinations.

    `extend`: adds what columns there are beside the model's.
    """
    # The page is found in the index alone; only its rows are then read whole.
    keys = RowsFrom(in_order(aliases).values("pk")[:size], start)
    rows = in_order(extend(Alias.objects.filter(pk__in=keys)))
    return rows.order_by(*rows.query.order_by, "destination_links__pk").values_list(*columns, *_DESTINATION)


def with_destinations(
    rows: Iterable[tuple[Any, ...]],
) -> Iterator[tuple[tuple[Any, ...], list[Destination]]]:
    """The columns of each alias in what `page_rows` found, and its destinations, the first one first."""
    width = len(_DESTINATION)
    for _key, group in groupby(rows, itemgetter(0)):
        own = list(group)
        yield own[0][:-width], [Destination(*row[-width:]) for row in own if row[-width] is not None]
