"""What sending as an alias asks the database: whose it is, what they allow, and to whom they write."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from aliases.models import Alias, AliasDestination
from aliases.models.preferences import AliasPreferences
from contacts.book import Wanted, contacts_for_all
from contacts.models import Contact
from core.db.compiled import CompiledQuery
from core.ratelimit import Counter, Limit, count_within
from mail.models import Delivery

PER_CONTACT_AND_HOUR = 60
AUTOMATIC_PER_DAY = 1


@dataclass(frozen=True)
class Addressee:
    """A contact to whom something is sent. `name`: their own, "" if the owner has given them another one,
    which is nobody else's to read."""

    contact_id: int
    address: str
    name: str
    reverse_address: str


@dataclass(frozen=True)
class Owner:
    """An alias and its owner, as far as sending needs them.

    `name`: what recipients see beside the alias. `own`: the owner's verified addresses. `may_write`: those
    that may reply from this alias.
    """

    user_id: int
    email: str
    language: str
    alias_id: int
    alias: str
    name: str
    own: frozenset[str]
    may_write: frozenset[str]
    preferences: AliasPreferences
    addressees: tuple[Addressee, ...]

    @property
    def domain(self) -> str:
        return self.alias.rpartition("@")[2]


@dataclass(frozen=True)
class OwnerOf:
    """The question who owns an alias, and which of its contacts are behind these reverse addresses."""

    alias_id: int
    reverse_addresses: frozenset[str] = frozenset()
    contact_id: int | None = None

    def names(self, addressee: Addressee) -> bool:
        return addressee.contact_id == self.contact_id or addressee.reverse_address in self.reverse_addresses


_ALIASES = CompiledQuery(
    lambda alias_ids: (
        Alias.objects.present()
        .filter(pk__among=alias_ids, owner__is_active=True)
        .select_related("owner__alias_preferences")
    ),
    alias_ids=models.BigIntegerField(),
)
# For each alias, its owner's verified addresses, and whether it forwards there.
_OWN = CompiledQuery(
    lambda alias_ids: EmailAddress.objects.filter(
        user__aliases__pk__among=alias_ids, verified=True
    ).values_list(
        "email",
        "user__aliases__pk",
        Exists(AliasDestination.objects.filter(alias=OuterRef("user__aliases__pk"), address=OuterRef("pk"))),
    ),
    alias_ids=models.BigIntegerField(),
)
_CONTACTS = CompiledQuery(
    lambda alias_ids, reverse_addresses, contact_ids: (
        Contact.objects.filter(
            Q(reverse_address__among=reverse_addresses) | Q(pk__among=contact_ids), alias__id__among=alias_ids
        )
        .order_by("pk")
        .values_list("alias_id", "pk", "address", "name", "is_name_kept", "reverse_address")
    ),
    alias_ids=models.BigIntegerField(),
    reverse_addresses=models.CharField(),
    contact_ids=models.BigIntegerField(),
)


def find_owners(questions: Sequence[OwnerOf]) -> list[Owner | None]:
    """The owners of aliases that are not deleted, if they are active."""
    alias_ids = sorted({question.alias_id for question in questions})
    aliases = {alias.pk: alias for alias in _ALIASES(alias_ids=alias_ids)}
    own: dict[int, list[tuple[str, bool]]] = defaultdict(list)
    contacts: dict[int, list[Addressee]] = defaultdict(list)
    if aliases:
        for email, alias_id, leads_there in _OWN(alias_ids=alias_ids):
            own[alias_id].append((email.lower(), leads_there))
        reverse = frozenset[str]().union(*(question.reverse_addresses for question in questions))
        keys = {question.contact_id for question in questions} - {None}
        asked = {"alias_ids": alias_ids, "reverse_addresses": sorted(reverse), "contact_ids": list(keys)}
        for alias_id, key, address, name, is_kept, reverse_address in _CONTACTS(**asked):
            contacts[alias_id].append(Addressee(key, address, "" if is_kept else name, reverse_address))
    found = []
    for question in questions:
        alias = aliases.get(question.alias_id)
        wanted = [each for each in contacts[question.alias_id] if question.names(each)]
        found.append(_owner(alias, own[question.alias_id], wanted) if alias else None)
    return found


def _owner(alias: Alias, own: Sequence[tuple[str, bool]], addressees: Iterable[Addressee]) -> Owner | None:
    """`own`: the owner's addresses, and whether the alias forwards there."""
    if alias.owner is None:
        return None
    preferences = getattr(alias.owner, "alias_preferences", None) or AliasPreferences(user=alias.owner)
    addresses = frozenset(email for email, _leads_there in own)
    destinations = frozenset(email for email, leads_there in own if leads_there)
    return Owner(
        user_id=alias.owner.pk,
        email=alias.owner.email,
        language=alias.owner.language,
        alias_id=alias.pk,
        alias=alias.address,
        name=alias.name or preferences.reply_name,
        own=addresses,
        may_write=destinations if preferences.strict_replies else addresses,
        preferences=preferences,
        addressees=tuple(addressees),
    )


@dataclass(frozen=True)
class Written:
    """The question which addressees are contacts of the alias now: the owner writes to them."""

    alias_id: int
    addresses: tuple[str, ...]


def meet(questions: Sequence[Written]) -> list[dict[str, Addressee]]:
    """The contacts by address; new ones are made, as many as the owner may have in a day."""
    wanted = [
        Wanted(each.alias_id, tuple((address, None) for address in each.addresses), by_owner=True)
        for each in questions
    ]
    return [
        {
            address: Addressee(
                row.contact_id, row.address, "" if row.is_name_kept else row.name, row.reverse_address
            )
            for address, row in found.items()
        }
        for found in contacts_for_all(wanted)
    ]


@dataclass(frozen=True)
class SentBefore:
    """The question which of these digests stand for replies that were sent (within DELIVERY_MEMORY)."""

    digests: tuple[str, ...]


def find_sent(questions: Sequence[SentBefore]) -> list[frozenset[str]]:
    wanted = {digest for each in questions for digest in each.digests}
    rows = Delivery.objects.filter(alias=None, accepted=True, digest__in=wanted)
    found = frozenset(rows.values_list("digest", flat=True))
    return [found.intersection(each.digests) for each in questions]


@dataclass(frozen=True)
class StillSending:
    """Says that the copy of this digest is still being sent."""

    digest: str


def renew(copies: Sequence[StillSending]) -> list[int]:
    """Count the time from now on in which nobody else sends them."""
    underway = Delivery.objects.filter(alias=None, accepted=None, digest__in=[each.digest for each in copies])
    return [underway.update(moment=timezone.now())] * len(copies)


@dataclass(frozen=True)
class Turn:
    """One reply of a person's, to be counted or, if it was not sent after all, given back."""

    user_id: int
    contact_id: int
    digest: str
    is_automatic: bool = False
    is_given_back: bool = False


def take_turns(questions: Sequence[Turn]) -> list[bool]:
    """Count each of them; whether it is within the limits. What is not is not counted."""
    return [_take_turn(question) for question in questions]


def _take_turn(turn: Turn) -> bool:
    day, hour = timedelta(days=1), timedelta(hours=1)
    pairs: list[tuple[Limit, object]] = [
        (Limit("replies", settings.REPLIES_PER_DAY, day), turn.user_id),
        (Limit("replies-to-contact", PER_CONTACT_AND_HOUR, hour), turn.contact_id),
    ]
    if turn.is_automatic:
        # RFC 3834 §2: or two programs answer each other without end.
        pairs.append((Limit("automatic-replies", AUTOMATIC_PER_DAY, day), turn.contact_id))
    if not turn.is_given_back and not any(hit.is_over for hit in Counter.objects.hit(*pairs)):
        return True
    Counter.objects.give_back(*pairs)
    return False


@dataclass(frozen=True)
class Notice:
    """A mail to a person, of whom at most `amount` a day are sent."""

    scope: str
    amount: int
    user_id: int
    about: str


def admit_notices(questions: Sequence[Notice]) -> list[bool]:
    """Whether each may be sent, which counts it."""
    return [_admit(Limit(each.scope, each.amount, timedelta(days=1)), each.user_id) for each in questions]


def _admit(limit: Limit, user_id: int) -> bool:
    # Strangers can ask without end: over the limit, nothing is written.
    return not Counter.objects.used_up(limit, user_id) and count_within(limit, user_id)
