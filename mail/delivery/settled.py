"""What forwarding asks about messages that were settled before: their senders may not have heard of it."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.db.models import Value

from mail.models import Delivery


@dataclass(frozen=True)
class Ended:
    """An alias that a rule has disabled because of a message from this envelope sender.

    As a question: whether that is remembered, together with a settled message to the alias. Its sender may
    not know of it; anybody else is to be told what they would be if there never had been the alias.
    """

    alias_id: int
    sender: str

    @property
    def digest(self) -> str:
        """By which it is remembered, as a delivery without an alias: that names nobody."""
        return hashlib.sha256(f"ended\0{self.alias_id}\0{self.sender}".encode(errors="replace")).hexdigest()


def remember_ended(ended: Collection[Ended]) -> None:
    """Remember these, for as long as deliveries are. Not the null sender: everybody can name it, and nobody
    is told of what it could not send."""
    digests = sorted(each.digest for each in ended if each.sender)
    if not digests:
        return
    # One that is there may be about to be pruned.
    Delivery.objects.filter(alias=None, digest__in=digests).delete()
    marks = [Delivery(digest=digest, accepted=True) for digest in digests]
    Delivery.objects.bulk_create(marks, ignore_conflicts=True)


def find_ended(questions: Sequence[Ended]) -> list[bool]:
    # One row for each alias, however many messages to it are remembered.
    settled = Delivery.objects.filter(alias__in=[each.alias_id for each in questions], accepted__isnull=False)
    of_aliases = settled.order_by().values_list("alias_id", Value("")).distinct()
    marks = Delivery.objects.filter(alias=None, digest__in=[each.digest for each in questions]).order_by()
    found = list(of_aliases.union(marks.values_list("alias_id", "digest")))
    aliases = {alias_id for alias_id, _digest in found}
    digests = {digest for alias_id, digest in found if alias_id is None}
    return [each.alias_id in aliases and each.digest in digests for each in questions]


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
