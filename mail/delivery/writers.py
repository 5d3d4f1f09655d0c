"""What sending as an alias asks the database: whose it is, what they allow, and to whom they write."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from aliases.models import Alias, AliasDestination
from aliases.models.preferences import AliasPreferences
from contacts.book import Wanted, contacts_for_all
from contacts.models import Contact
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


def find_owners(questions: Sequence[OwnerOf]) -> list[Owner | None]:
    """The owners of aliases that are not deleted, if they are active."""
    return [_find_owner(question) for question in questions]


def _find_owner(question: OwnerOf) -> Owner | None:
    alias = (
        Alias.objects.present()
        .filter(pk=question.alias_id, owner__is_active=True)
        .select_related("owner__alias_preferences")
        .first()
    )
    if alias is None or alias.owner is None:
        return None
    leads_there = AliasDestination.objects.filter(alias=alias, address=OuterRef("pk"))
    rows = list(
        EmailAddress.objects.filter(user=alias.owner, verified=True).values_list("email", Exists(leads_there))
    )
    wanted = Q(reverse_address__in=question.reverse_addresses) | Q(pk=question.contact_id)
    contacts = Contact.objects.filter(wanted, alias=alias).order_by("pk")
    preferences = getattr(alias.owner, "alias_preferences", None) or AliasPreferences(user=alias.owner)
    own = frozenset(email.lower() for email, _leads in rows)
    destinations = frozenset(email.lower() for email, leads in rows if leads)
    return Owner(
        user_id=alias.owner.pk,
        email=alias.owner.email,
        language=alias.owner.language,
        alias_id=alias.pk,
        alias=alias.address,
        name=alias.name or preferences.reply_name,
        own=own,
        may_write=destinations if preferences.strict_replies else own,
        preferences=preferences,
        addressees=tuple(
            Addressee(each.pk, each.address, "" if each.is_name_kept else each.name, each.reverse_address)
            for each in contacts
        ),
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
