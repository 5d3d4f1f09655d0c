"""What a person's rules ask the database: the rules themselves, and what is known of where they lead."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import models
from django.db.models import Exists, F

from aliases.models import Alias
from core.db.changes import CompiledChange
from mail.models import Delivery, DestinationKey, PausedDestination
from rules.models import Rule


class RuleBook(NamedTuple):
    """The rules of an alias's owner that are on, in their order; and the alias with its note."""

    rules: tuple[Rule, ...] = ()
    alias: str = ""
    note: str = ""


@dataclass(frozen=True)
class RulesOf:
    """The question for the rules of the alias's owner."""

    alias_id: int


def find_rules(questions: Sequence[RulesOf]) -> list[RuleBook]:
    rows: Iterable[Any] = Rule.objects.for_aliases([each.alias_id for each in questions]).in_order()
    found: dict[int, list[Any]] = defaultdict(list)
    for rule in rows:
        found[rule.for_alias].append(rule)
    return [_book(found[each.alias_id]) for each in questions]


def _book(rules: Sequence[Any]) -> RuleBook:
    if not rules:
        return RuleBook()
    first = rules[0]
    return RuleBook(tuple(rules), first.alias_address, first.alias_note)


# That rules were applied to so many messages.
COUNT_RULES = CompiledChange(
    lambda key, number, now: Rule.objects.filter(pk=key),
    lambda key, number, now: {"applied": F("applied") + number, "applied_at": now},
    key=models.BigIntegerField(),
    number=models.IntegerField(),
    now=models.DateTimeField(),
)


@dataclass(frozen=True)
class CopiesFor:
    """The question what is known of a message's copies for these destinations, which a rule has chosen."""

    alias_id: int
    digest: str
    destination_ids: tuple[int, ...]


class ChosenCopy(NamedTuple):
    """Whether the destination is paused; of the key to which its mail is encrypted, if there is one; and the
    delivery that was begun or settled before, if any."""

    is_paused: bool = False
    key_id: int | None = None
    delivery_id: int | None = None
    is_accepted: bool | None = None
    moment: datetime | None = None


def find_copies(questions: Sequence[CopiesFor]) -> list[dict[int, ChosenCopy]]:
    return [_copies(question) for question in questions]


def _copies(question: CopiesFor) -> dict[int, ChosenCopy]:
    chosen = question.destination_ids
    paused = set(PausedDestination.objects.filter(destination__in=chosen).values_list("pk", flat=True))
    deliveries = Delivery.objects.filter(
        alias=question.alias_id, digest=question.digest, destination__in=chosen
    ).values_list("destination_id", "pk", "accepted", "moment")
    encrypts = Exists(Alias.objects.filter(pk=question.alias_id, skips_encryption=False))
    in_use = DestinationKey.objects.in_use().filter(encrypts, destination__in=chosen)
    keys = {key: key for key in in_use.values_list("pk", flat=True)}
    known = {destination_id: row for destination_id, *row in deliveries}
    return {key: ChosenCopy(key in paused, keys.get(key), *known.get(key, ())) for key in chosen}
