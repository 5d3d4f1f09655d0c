"""What forwarding asks the database: one statement for all who ask the same kind of question at once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import models
from django.db.models import Case, Exists, F, FilteredRelation, OuterRef, Q, When

from aliases.models import Alias, AliasDestination, SenderDomain
from contacts.addresses import correspondent_address
from contacts.book import Correspondent, Found, Wanted, contacts_for_all, find_all
from core.addresses import Address, AddressError
from core.db.compiled import CompiledQuery
from domains.models.dkim_key import DkimKey, signing_keys
from mail.delivery.gatherer import Gatherer
from mail.delivery.resolve import UNMADE, Kind, Resolution, make_all, needs_database, resolve, resolve_all
from mail.delivery.rule_rows import ChosenCopy, CopiesFor, RuleBook, RulesOf, find_copies, find_rules
from mail.delivery.settled import Ended, SettledOf, find_ended, find_settled
from mail.delivery.writers import (
    Notice,
    OwnerOf,
    SentBefore,
    StillSending,
    Turn,
    Written,
    admit_notices,
    find_owners,
    find_sent,
    meet,
    renew,
    take_turns,
)
from mail.encryption.certificates import OpenPgpKey
from mail.models import Delivery, DestinationKey, PausedDestination

IS_PAUSED = Exists(PausedDestination.objects.filter(destination=OuterRef("address")))


class Destination(NamedTuple):
    """Where mail to an alias goes."""

    alias: str
    destination_id: int
    email: str
    is_paused: bool
    hides_replies: bool
    # How correspondents are shown (aliases.models.SenderFormat); None for the usual way.
    sender_format: str | None
    # Of the key to which mail from this alias is encrypted; None without one.
    key_id: int | None = None


_KEY_ID = Case(
    When(
        address__openpgp_key__is_used=True,
        alias__skips_encryption=False,
        then=F("address__openpgp_key__destination"),
    )
)
_DESTINATION = (
    "alias__address",
    "address_id",
    "address__email",
    IS_PAUSED,
    "alias__hides_replies",
    "alias__owner__alias_preferences__sender_format",
    _KEY_ID,
)


# Of aliases that receive: the recipient was accepted perhaps long ago.
_DESTINATIONS = CompiledQuery(
    lambda alias_ids: AliasDestination.objects.filter(
        Exists(Alias.objects.receiving().filter(pk=OuterRef("alias"))), alias__id__among=alias_ids
    ).values_list("alias_id", *_DESTINATION),
    alias_ids=models.BigIntegerField(),
)


@dataclass(frozen=True)
class DestinationsOf:
    """The question where mail to an alias goes; nowhere if it does not receive."""

    alias_id: int


def _destinations(questions: Sequence[DestinationsOf]) -> list[list[Destination]]:
    found: dict[int, list[Destination]] = defaultdict(list)
    for alias_id, *row in _DESTINATIONS(alias_ids=[each.alias_id for each in questions]):
        found[alias_id].append(Destination(*row))
    return [found[each.alias_id] for each in questions]


class Known(NamedTuple):
    """A copy of a message that was begun, or settled, before; or nothing."""

    delivery_id: int | None = None
    is_accepted: bool | None = None
    moment: datetime | None = None


NOTHING = Known()


@dataclass(frozen=True)
class CopiesOf:
    """The question where mail to an alias goes, and what is known of a message's copies for there."""

    alias_id: int
    digest: str


# A row for each destination and each delivery to it of one of these messages, or of none.
_COPIES = CompiledQuery(
    lambda alias_ids, digests: (
        AliasDestination.objects.filter(alias__id__among=alias_ids)
        .annotate(
            delivery=FilteredRelation(
                "alias__deliveries",
                condition=Q(
                    alias__deliveries__destination=F("address"), alias__deliveries__digest__among=digests
                ),
            )
        )
        .order_by("pk")
        .values_list(
            "alias_id",
            *_DESTINATION,
            "delivery__digest",
            "delivery__pk",
            "delivery__accepted",
            "delivery__moment",
        )
    ),
    alias_ids=models.BigIntegerField(),
    digests=models.CharField(),
)


def _copies(questions: Sequence[CopiesOf]) -> list[list[tuple[Destination, Known]]]:
    aliases: dict[int, dict[Destination, dict[str | None, Known]]] = defaultdict(lambda: defaultdict(dict))
    alias_ids, digests = ({getattr(each, name) for each in questions} for name in ("alias_id", "digest"))
    for alias_id, *row in _COPIES(alias_ids=list(alias_ids), digests=list(digests)):
        digest, *known = row[len(_DESTINATION) :]
        aliases[alias_id][Destination(*row[: len(_DESTINATION)])][digest] = Known(*known)
    return [
        [(destination, known.get(each.digest, NOTHING)) for destination, known in found.items()]
        for each in questions
        for found in (aliases[each.alias_id],)
    ]


@dataclass(frozen=True)
class _KeyOf:
    key_id: int


_KEYS = CompiledQuery(
    lambda key_ids: (
        DestinationKey.objects.in_use()
        .filter(destination__id__among=key_ids)
        .values_list("pk", "certificate", "expires_at", "otherwise", "hides_subject")
    ),
    key_ids=models.BigIntegerField(),
)


def _destination_keys(questions: Sequence[_KeyOf]) -> list[OpenPgpKey | None]:
    rows = _KEYS(key_ids=[each.key_id for each in questions])
    found = {
        key_id: OpenPgpKey(
            bytes(certificate), expires_at, otherwise == DestinationKey.Otherwise.HOLD, hides_subject
        )
        for key_id, certificate, expires_at, otherwise, hides_subject in rows
    }
    return [found.get(each.key_id) for each in questions]


@dataclass(frozen=True)
class _DeliveryOf:
    digest: str


_WITHOUT_ALIAS = CompiledQuery(
    lambda digests: Delivery.objects.filter(alias=None, digest__among=digests).values_list(
        "digest", "pk", "accepted", "moment"
    ),
    digests=models.CharField(),
)


def _deliveries_without_alias(questions: Sequence[_DeliveryOf]) -> list[Known]:
    rows = _WITHOUT_ALIAS(digests=[each.digest for each in questions])
    found = {digest: Known(*known) for digest, *known in rows}
    return [found.get(each.digest, NOTHING) for each in questions]


@dataclass(frozen=True)
class _ContactsOf:
    alias_id: int
    addresses: tuple[str, ...]


def _contacts(questions: Sequence[_ContactsOf]) -> list[Found]:
    pairs = [(each.alias_id, address) for each in questions for address in each.addresses]
    found = find_all(pairs) if pairs else {}
    return [
        {address: found[key] for address in each.addresses if (key := (each.alias_id, address)) in found}
        for each in questions
    ]


@dataclass(frozen=True)
class _KeysOf:
    domain: str


@dataclass(frozen=True)
class _ContactOf:
    alias_id: int
    address: str


def _contact(questions: Sequence[_ContactOf]) -> list[Correspondent | None]:
    keys = [(each.alias_id, each.address) for each in questions]
    found = find_all(keys)
    return [found.get(key) for key in keys]


@dataclass(frozen=True)
class _AnswerAbout:
    alias_id: int
    domain: str


_ANSWERS_ABOUT = CompiledQuery(
    lambda alias_ids, domains: SenderDomain.objects.filter(
        alias__id__among=alias_ids, domain__among=domains
    ).values_list("alias_id", "domain", "answer"),
    alias_ids=models.BigIntegerField(),
    domains=models.CharField(),
)


def _answers_about(questions: Sequence[_AnswerAbout]) -> list[str]:
    alias_ids, domains = ({getattr(each, name) for each in questions} for name in ("alias_id", "domain"))
    rows = _ANSWERS_ABOUT(alias_ids=list(alias_ids), domains=list(domains))
    found = {_AnswerAbout(alias_id, domain): answer for alias_id, domain, answer in rows}
    return [found.get(each, "") for each in questions]


_ANSWERS: dict[type, Any] = {
    _ContactsOf: _contacts,
    _KeysOf: lambda questions: [signing_keys(each.domain) for each in questions],
    OwnerOf: find_owners,
    Written: meet,
    SentBefore: find_sent,
    StillSending: renew,
    Turn: take_turns,
    Notice: admit_notices,
    _ContactOf: _contact,
    _AnswerAbout: _answers_about,
    Wanted: contacts_for_all,
    str: resolve_all,
    Address: make_all,
    DestinationsOf: _destinations,
    CopiesOf: _copies,
    _DeliveryOf: _deliveries_without_alias,
    Ended: find_ended,
    SettledOf: find_settled,
    _KeyOf: _destination_keys,
    RulesOf: find_rules,
    CopiesFor: find_copies,
}


def answer_all(questions: Sequence[Any]) -> list[Any]:
    """The answers, in their order: a statement or two for each kind of question."""
    kinds: dict[type, list[Any]] = defaultdict(list)
    for question in dict.fromkeys(questions):
        kinds[type(question)].append(question)
    answers: dict[Any, Any] = {}
    for kind, asked in kinds.items():
        answers |= zip(asked, _ANSWERS[kind](asked), strict=True)
    return [answers[question] for question in questions]


# What an address at a domain of ours is that no mailbox of its own has.
OURS = {Kind.FORWARD, Kind.BLOCKED, Kind.RETURN_PATH, Kind.REVERSE, *UNMADE}


def leading_to_us(addresses: Iterable[str]) -> set[str]:
    """Those of these destinations that are at a domain of ours, and no mailbox there: one statement if there
    is any at such a domain."""
    asked = [address for address in dict.fromkeys(addresses) if needs_database(address)]
    found = resolve_all(asked) if asked else []
    return {address for address, what in zip(asked, found, strict=True) if what.kind in OURS}


class Lookups(Gatherer[Any, Any]):
    """Answers questions in an event loop; each raises TooLate if the database does not answer in time, and
    what the database raises while it is away."""

    def __init__(self) -> None:
        super().__init__("lookups", answer_all)

    async def resolve(self, address: str) -> Resolution:
        """What the address is (mail.delivery.resolve.resolve)."""
        if not needs_database(address):
            return resolve(address)
        found: Resolution = await self.ask(address)
        return found

    async def leads_to_us(self, destination: str) -> bool:
        """Whether a destination is at a domain of ours, and no mailbox there."""
        return needs_database(destination) and (await self.resolve(destination)).kind in OURS

    async def make(self, address: Address) -> Kind:
        """Make the address an alias, if mail may (mail.delivery.resolve.make_all)."""
        found: Kind = await self.ask(address)
        return found

    async def copies(self, alias_id: int, digest: str) -> list[tuple[Destination, Known]]:
        """The alias's destinations, in their order, with what is known of a message's copies for them."""
        found: list[tuple[Destination, Known]] = await self.ask(CopiesOf(alias_id, digest))
        return found

    async def contacts(self, alias_id: int, addresses: Sequence[str]) -> Found:
        """The alias's contacts among these addresses, which are in their one form."""
        found: Found = await self.ask(_ContactsOf(alias_id, tuple(addresses)))
        return found

    async def signing_keys(self, domain: str) -> list[DkimKey]:
        """The keys that sign mail from this domain (mail.delivery.dkim.sign_with)."""
        found: list[DkimKey] = await self.ask(_KeysOf(domain))
        return found

    async def has_ended(self, alias_id: int, sender: str) -> bool:
        """Whether a message from this envelope sender is remembered that has ended the alias."""
        found: bool = await self.ask(Ended(alias_id, sender))
        return found

    async def settled(self, alias_id: int, digest: str) -> bool | None:
        """Whether this message to the alias was accepted somewhere; None if it was not settled, or is not
        remembered."""
        found: bool | None = await self.ask(SettledOf(alias_id, digest))
        return found

    async def delivery_without_alias(self, digest: str) -> Known:
        """What is known of a message to the postmaster."""
        found: Known = await self.ask(_DeliveryOf(digest))
        return found

    async def destination_key(self, key_id: int) -> OpenPgpKey | None:
        """The key of a destination; None if it has just been taken away."""
        found: OpenPgpKey | None = await self.ask(_KeyOf(key_id))
        return found

    async def rules(self, alias_id: int) -> RuleBook:
        """The rules of the alias's owner."""
        found: RuleBook = await self.ask(RulesOf(alias_id))
        return found

    async def chosen_copies(
        self, alias_id: int, digest: str, destination_ids: tuple[int, ...]
    ) -> dict[int, ChosenCopy]:
        """What is known of a message's copies for these destinations, by their keys."""
        found: dict[int, ChosenCopy] = await self.ask(CopiesFor(alias_id, digest, destination_ids))
        return found

    async def contact(self, alias_id: int, address: str) -> Correspondent | None:
        """The alias's contact at this address, if there is one."""
        try:
            found: Correspondent | None = await self.ask(_ContactOf(alias_id, correspondent_address(address)))
        except AddressError:
            return None
        return found

    async def answer_about(self, alias_id: int, domain: str) -> str:
        """What the alias's owner has said of mail from this domain (aliases.models.SenderAnswer), or ""."""
        found: str = await self.ask(_AnswerAbout(alias_id, domain))
        return found

    async def stranger(self, alias_id: int, address: str) -> Correspondent | None:
        """The same; a new one waits for the owner's yes. None if it is no address, or there are too many."""
        wanted = Wanted(alias_id, ((address, None),), waiting=True)
        found: dict[str, Correspondent] = await self.ask(wanted)
        return next(iter(found.values()), None)
