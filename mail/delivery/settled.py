"""What forwarding asks about messages that were settled before: their senders may not have heard of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from mail.models import Delivery


@dataclass(frozen=True)
class Remembered:
    """The question whether any settled message to an alias is remembered: its sender may not know of it."""

    alias_id: int


def find_remembered(questions: Sequence[Remembered]) -> list[bool]:
    keys = [each.alias_id for each in questions]
    rows = Delivery.objects.filter(alias__in=keys, accepted__isnull=False).order_by()
    found = set(rows.values_list("alias_id", flat=True).distinct())
    return [key in found for key in keys]


@dataclass(frozen=True)
class SettledOf:
    """The question what became of a message to an alias, wherever it went."""

    alias_id: int
    digest: str


def find_settled(questions: Sequence[SettledOf]) -> list[bool | None]:
    rows = Delivery.objects.filter(accepted__isnull=False)
    return [
        # Of several copies, one that was accepted.
        rows.filter(alias=each.alias_id, digest=each.digest)
        .order_by("-accepted")
        .values_list("accepted", flat=True)
        .first()
        for each in questions
    ]
