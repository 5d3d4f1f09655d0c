"""Questions about aliases, and what is done to many of them in one statement."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models, transaction
from django.db.models import Case, Count, Exists, OuterRef, Q, Sum, Value, When
from django.utils import timezone

from accounts.models import User
from aliases.local_parts import resolved_form
from aliases.models.destination import AliasDestination
from aliases.models.expiry import WARNING_DAYS, AliasExpiry
from aliases.models.sender import Admits, SenderDomain
from aliases.telling import tell_of
from aliases.validation import storable
from core.addresses import AddressError
from core.batches import batches
from hooks.models import HookEvent, is_heard

if TYPE_CHECKING:
    from aliases.models.alias import Alias
    from aliases.models.name_space import NameSpace

# Keys in one statement: SQLite takes at most 32,766 parameters unless built for more.
STRIP_BATCH = 10_000
SEARCH_MAX_CHARACTERS = 200

# The condition under which an alias's mail is forwarded: an expression, so that one query can also
# ask of an alias whether it holds (mail.delivery.resolve).
RECEIVING = Q(enabled=True, deleted_at=None, owner__is_active=True)


def restore_period() -> timedelta:
    """How long a deleted alias can be restored."""
    return timedelta(days=settings.ALIAS_RESTORE_DAYS)


class AliasQuerySet(models.QuerySet["Alias"]):
    """Questions about aliases; `aliases.issuing` makes them."""

    def owned_by(self, user: User) -> "AliasQuerySet":
        """Every alias of `user`, the deleted ones that can be restored included."""
        return self.filter(owner=user)

    def present(self) -> "AliasQuerySet":
        """Aliases that are not deleted."""
        return self.filter(deleted_at=None)

    def deleted(self) -> "AliasQuerySet":
        """Aliases that were deleted and can be restored."""
        return self.filter(deleted_at__isnull=False, owner__isnull=False)

    def stripped(self) -> "AliasQuerySet":
        """What is left of purged aliases: addresses that stay taken."""
        return self.filter(owner=None)

    def receiving(self) -> "AliasQuerySet":
        """Aliases whose mail is forwarded: enabled, not deleted, the owner active."""
        return self.filter(RECEIVING)

    def purgeable(self) -> "AliasQuerySet":
        """Deleted aliases whose time for restoring is over."""
        return self.deleted().filter(deleted_at__lte=timezone.now() - restore_period())

    def holding(self, address: str) -> "AliasQuerySet":
        """The alias, whatever its state, that mail to `address` would go to. No address: none."""
        try:
            return self.filter(address=resolved_form(address))
        except AddressError:
            return self.none()

    def within(self, space: "NameSpace") -> "AliasQuerySet":
        """Aliases whose names are of this name space, whoever has made them and how."""
        return self.filter(domain=space.domain_id, address__endswith=space.ending)

    def with_destinations(self) -> "AliasQuerySet":
        """The same aliases with their destinations loaded, in one statement for all of them."""
        links = AliasDestination.objects.select_related("address")
        return self.prefetch_related(models.Prefetch("destination_links", queryset=links))

    def recent_first(self) -> "AliasQuerySet":
        """Pinned ones first, then by the last activity (or creation), newest first."""
        return self.order_by("-pinned", "-active_at", "-pk")

    def newest_first(self) -> "AliasQuerySet":
        """Pinned ones first, then by creation, newest first: an order that no mail changes."""
        return self.order_by("-pinned", "-pk")

    def search(self, text: str) -> "AliasQuerySet":
        """Aliases with `text` in address, note, hostname or name, in any case; its beginning counts."""
        text = storable(text).strip()
        # A database compares a text anew at each place of a note: a long one would take minutes.
        text = text[:SEARCH_MAX_CHARACTERS]
        if not text:
            return self
        query = Q(note__icontains=text) | Q(hostname__icontains=text) | Q(name__icontains=text)
        return self.filter(query | Q(address__contains=text.lower()))

    def never_used(self) -> "AliasQuerySet":
        """Aliases that no mail has ever reached."""
        return self.filter(forwards=0, blocks=0, replies=0)

    def ending_soon(self) -> "AliasQuerySet":
        """Aliases that will end by themselves within WARNING_DAYS days if no mail comes."""
        then = timezone.now() + timedelta(days=WARNING_DAYS)
        return self.filter(Exists(AliasExpiry.objects.running().due(then).filter(alias=OuterRef("pk"))))

    def noting_new_senders(self) -> "AliasQuerySet":
        """The same aliases, and whether each `has_new_senders`."""
        return self.annotate(has_new_senders=_has_new_senders())

    def with_new_senders(self) -> "AliasQuerySet":
        """Aliases to which somebody new has written, of whom their owner has said nothing yet."""
        return self.filter(_has_new_senders())

    def figures(self) -> dict[str, int]:
        """How many aliases there are, and their forwards, blocks and replies added up."""
        return {
            name: value or 0
            for name, value in self.aggregate(
                aliases=Count("pk"), forwards=Sum("forwards"), blocks=Sum("blocks"), replies=Sum("replies")
            ).items()
        }

    def disable_all(self, keys: Sequence[int]) -> None:
        """Disable the aliases with these keys, and tell the hooks; in one statement if none hears of them."""
        named = self.filter(pk__in=keys)
        if named.exclude(is_heard("owner")).update(enabled=False) < len(keys):
            _disable_heard(named)

    def switch_over(self) -> None:
        """Enable the alias if it is disabled, and the other way round. These are one alias, or none."""
        flipped = Case(When(enabled=True, then=Value(False)), default=Value(True))
        if not self.exclude(is_heard("owner")).update(enabled=flipped):
            _switch_over_heard(self)

    @transaction.atomic
    def strip(self) -> int:
        """Strip these aliases of everything but the address, which stays taken. Returns how many."""
        keys = self.select_for_update().values_list("pk", flat=True)
        return sum(_strip_rows(self.model, batch) for batch in batches(keys, STRIP_BATCH))


@transaction.atomic
def _disable_heard(aliases: AliasQuerySet) -> None:
    switched = list(aliases.filter(enabled=True).order_by("pk").select_for_update(no_key=True))
    aliases.model.objects.filter(pk__in=[alias.pk for alias in switched]).update(enabled=False)
    tell_of(HookEvent.ALIAS_DISABLED, switched)


@transaction.atomic
def _switch_over_heard(aliases: AliasQuerySet) -> None:
    for alias in aliases.select_for_update(no_key=True):
        if alias.enabled:
            _disable_heard(aliases)
        else:
            aliases.update(enabled=True)


def _has_new_senders() -> Exists:
    return Exists(SenderDomain.objects.unanswered().filter(alias=OuterRef("pk")))


def _strip_rows(model: "type[Alias]", keys: Sequence[int]) -> int:
    # Destinations here, and whatever another app keeps about an alias.
    for relation in model._meta.related_objects:
        relation.related_model._base_manager.filter(**{f"{relation.field.name}__in": keys}).delete()
    now = timezone.now()
    return model.objects.filter(pk__in=keys).update(
        owner=None,
        enabled=False,
        pinned=False,
        note="",
        name="",
        hostname="",
        hides_replies=False,
        skips_encryption=False,
        admits=Admits.ALL,
        made_by_mail=False,
        forwards=0,
        blocks=0,
        replies=0,
        created=now,
        active_at=now,
        deleted_at=now,
    )
