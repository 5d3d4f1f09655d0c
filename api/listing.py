"""A page of aliases with their destinations, read in one statement."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from allauth.account.models import EmailAddress
from django.db.models import Prefetch

from aliases.models import Alias, AliasDestination, AliasQuerySet
from core.db.compiled import RowsFrom
from core.db.parameters import Parameter

InOrder = Callable[[AliasQuerySet], AliasQuerySet]


class KeyFacts(NamedTuple):
    """What is shown of a DestinationKey, by its names."""

    fingerprint: str
    is_used: bool
    hides_subject: bool


class Destination(NamedTuple):
    """What a list shows of an EmailAddress, by its names, and of its key."""

    pk: int
    email: str
    verified: bool
    key: KeyFacts | None = None


_OF_ADDRESS, _OF_KEY = Destination._fields[:-1], [f"openpgp_key__{field}" for field in KeyFacts._fields]
_DESTINATION = [f"destination_links__address__{field}" for field in (*_OF_ADDRESS, *_OF_KEY)]


def key_of(address: EmailAddress | Destination) -> KeyFacts | None:
    """The address's key, which was read with the address (`with_key`, `with_keys`, or
    aliases.beside for an alias that has just been made); None if it has none."""
    if isinstance(address, Destination):
        return address.key
    relation: Any = EmailAddress._meta.get_field("openpgp_key")
    key = relation.get_cached_value(address, default=None)
    return KeyFacts(key.fingerprint, key.is_used, key.hides_subject) if key else None


def with_key(addresses: Any) -> Any:
    """The same addresses, each with what is shown of its key, in the same statement."""
    return addresses.select_related("openpgp_key").defer("openpgp_key__certificate")


def with_keys(aliases: AliasQuerySet) -> AliasQuerySet:
    """The same aliases with their destinations and these addresses' keys loaded, in one statement for all."""
    links = AliasDestination.objects.select_related("address__openpgp_key")
    links = links.defer("address__openpgp_key__certificate")
    return aliases.prefetch_related(Prefetch("destination_links", queryset=links))


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
        yield own[0][:-width], [_destination(row[-width:]) for row in own if row[-width] is not None]


def _destination(columns: Sequence[Any]) -> Destination:
    key = columns[len(_OF_ADDRESS) :]
    pk, email, verified = columns[: len(_OF_ADDRESS)]
    return Destination(pk, email, verified, KeyFacts(*key) if key[0] is not None else None)
