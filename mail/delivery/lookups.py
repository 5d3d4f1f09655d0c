"""What forwarding asks the database: one statement for all who ask the same kind of question at once."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import models
from django.db.models import Exists, OuterRef

from aliases.models import Alias, AliasDestination
from core.db.compiled import CompiledQuery
from mail.delivery.gatherer import Gatherer
from mail.delivery.resolve import Resolution, needs_database, resolve, resolve_all
from mail.models import PausedDestination

IS_PAUSED = Exists(PausedDestination.objects.filter(destination=OuterRef("address")))


class Destination(NamedTuple):
    """Where mail to an alias goes."""

    alias: str
    destination_id: int
    email: str
    is_paused: bool


# Of aliases that receive: the recipient was accepted perhaps long ago.
_DESTINATIONS = CompiledQuery(
    lambda alias_ids: AliasDestination.objects.filter(
        Exists(Alias.objects.receiving().filter(pk=OuterRef("alias"))), alias__id__among=alias_ids
    ).values_list("alias_id", "alias__address", "address_id", "address__email", IS_PAUSED),
    alias_ids=models.BigIntegerField(),
)


@dataclass(frozen=True)
class _DestinationsOf:
    alias_id: int


def _destinations(questions: Sequence[_DestinationsOf]) -> list[list[Destination]]:
    found: dict[int, list[Destination]] = defaultdict(list)
    for alias_id, *row in _DESTINATIONS(alias_ids=[each.alias_id for each in questions]):
        found[alias_id].append(Destination(*row))
    return [found[each.alias_id] for each in questions]


_ANSWERS: dict[type, Any] = {str: resolve_all, _DestinationsOf: _destinations}


def _answer_all(questions: Sequence[Any]) -> list[Any]:
    kinds: dict[type, list[Any]] = defaultdict(list)
    for question in dict.fromkeys(questions):
        kinds[type(question)].append(question)
    answers: dict[Any, Any] = {}
    for kind, asked in kinds.items():
        answers |= zip(asked, _ANSWERS[kind](asked), strict=True)
    return [answers[question] for question in questions]


class Lookups(Gatherer[Any, Any]):
    """Answers questions in an event loop; each raises TooLate if the database does not answer in time, and
    what the database raises while it is away."""

    def __init__(self) -> None:
        super().__init__("lookups", _answer_all)

    async def resolve(self, address: str) -> Resolution:
        """What the address is (mail.delivery.resolve.resolve)."""
        if not needs_database(address):
            return resolve(address)
        found: Resolution = await self.ask(address)
        return found

    async def destinations(self, alias_id: int) -> list[Destination]:
        """The destinations of an alias; none if it does not receive."""
        found: list[Destination] = await self.ask(_DestinationsOf(alias_id))
        return found
