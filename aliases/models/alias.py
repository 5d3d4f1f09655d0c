"""Aliases and their life: given out once, switched, deleted, restored, stripped."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import models, transaction
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Sum, Value, When
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases import exceptions as refusals
from aliases.creation_limits import hold_creations
from aliases.destinations import verified_addresses
from aliases.local_parts import resolved_form
from aliases.models.expiry import WARNING_DAYS, AliasExpiry
from aliases.models.sender import SenderAnswer, SenderDomain
from aliases.telling import tell_of
from aliases.validation import NAME_MAX_CHARACTERS, clean_destinations, clean_name, clean_note, storable
from aliases.websites import bare_host
from core.addresses import (
    DOMAIN_MAX_OCTETS,
    LOCAL_PART_MAX_OCTETS,
    AddressError,
    display_address,
    domain_to_unicode,
)
from core.batches import batches
from core.db.compiled import insert_row
from core.db.fields import ByteOrderedField
from core.public_suffixes import registrable_domain
from domains.models import Domain
from hooks.models import HookEvent, is_heard

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager

# Keys in one statement: SQLite takes at most 32,766 parameters unless built for more.
STRIP_BATCH = 10_000
SEARCH_MAX_CHARACTERS = 200

# The condition under which an alias's mail is forwarded: an expression, so that one query can also
# ask of an alias whether it holds (mail.delivery.resolve).
RECEIVING = Q(enabled=True, deleted_at=None, owner__is_active=True)


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

    @transaction.atomic
    def strip(self) -> int:
        """Strip these aliases of everything but the address, which stays taken. Returns how many."""
        keys = self.select_for_update().values_list("pk", flat=True)
        return sum(map(_strip_rows, batches(keys, STRIP_BATCH)))


@transaction.atomic
def _disable_heard(aliases: AliasQuerySet) -> None:
    switched = list(aliases.filter(enabled=True).order_by("pk").select_for_update(no_key=True))
    Alias.objects.filter(pk__in=[alias.pk for alias in switched]).update(enabled=False)
    tell_of(HookEvent.ALIAS_DISABLED, switched)


@transaction.atomic
def _toggle_heard(aliases: AliasQuerySet) -> None:
    for alias in aliases.select_for_update(no_key=True):
        if alias.enabled:
            _disable_heard(aliases)
        else:
            aliases.update(enabled=True)


def _has_new_senders() -> Exists:
    return Exists(SenderDomain.objects.unanswered().filter(alias=OuterRef("pk")))


def _strip_rows(keys: Sequence[int]) -> int:
    # Destinations here, and whatever another app keeps about an alias.
    for relation in Alias._meta.related_objects:
        relation.related_model._base_manager.filter(**{f"{relation.field.name}__in": keys}).delete()
    now = timezone.now()
    return Alias.objects.filter(pk__in=keys).update(
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


class Admits(models.TextChoices):
    """Whose mail an alias takes."""

    ALL = "all", _("everybody's")
    # Mail from others than its contacts is refused; or their servers are told to try again, for days.
    KNOWN = "known", _("only from people that I know; refuse other mail")
    KNOWN_LATER = "known_later", _("only from people that I know; let other mail wait until I decide")


class Alias(models.Model):
    """An address that is given out once, ever, and forwarded to its owner while enabled."""

    address = ByteOrderedField(_("address"), max_length=LOCAL_PART_MAX_OCTETS + 1 + DOMAIN_MAX_OCTETS)
    # Names the alias to clients that want an id which tells nothing: not how many there are, nor since when.
    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    domain = models.ForeignKey(Domain, models.PROTECT, related_name="aliases", verbose_name=_("domain"))
    owner = models.ForeignKey(
        User,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="aliases",
        verbose_name=_("owner"),
        db_index=False,  # alias_newest begins with it
    )
    destinations = models.ManyToManyField(
        EmailAddress, through="AliasDestination", related_name="aliases", verbose_name=_("destinations")
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    pinned = models.BooleanField(_("pinned"), default=False)
    note = models.TextField(_("note"), blank=True)
    name = models.CharField(_("name"), max_length=NAME_MAX_CHARACTERS, blank=True)
    hostname = models.CharField(_("hostname"), max_length=DOMAIN_MAX_OCTETS, blank=True)
    # Whether its mail goes on with reverse addresses in place of the correspondents' own.
    hides_replies = models.BooleanField(_("replies hide me"), default=False)
    # Whether its mail goes on as it is, also to destinations that have a key.
    skips_encryption = models.BooleanField(_("is never encrypted"), default=False, db_default=False)
    admits = models.CharField(_("takes mail"), max_length=12, choices=Admits, default=Admits.ALL)
    # By the first message to it (aliases.by_mail).
    made_by_mail = models.BooleanField(_("made by mail"), default=False, db_default=False, editable=False)
    forwards = models.PositiveBigIntegerField(_("forwards"), default=0)
    blocks = models.PositiveBigIntegerField(_("blocks"), default=0)
    replies = models.PositiveBigIntegerField(_("replies"), default=0)
    created = models.DateTimeField(_("created"), default=timezone.now)
    # When it was made or last had mail: one column, so that an index can hold the lists' order.
    active_at = models.DateTimeField(_("active"), default=timezone.now)
    deleted_at = models.DateTimeField(_("deleted"), null=True, blank=True)

    objects = AliasQuerySet.as_manager()

    if TYPE_CHECKING:
        destination_links: RelatedManager["AliasDestination"]
        activities: RelatedManager[Any]
        contacts: RelatedManager[Any]
        sender_domains: RelatedManager[SenderDomain]

    class Meta:
        verbose_name = _("alias")
        verbose_name_plural = _("aliases")
        constraints = [
            models.UniqueConstraint(
                fields=["address"],
                name="alias_address_unique",
                violation_error_message=_("This address was given out before."),
            ),
            models.CheckConstraint(condition=Q(address=Lower("address")), name="alias_address_lower_case"),
            models.CheckConstraint(
                condition=Q(owner__isnull=False) | Q(deleted_at__isnull=False), name="alias_owned_or_stripped"
            ),
        ]
        indexes = [
            models.Index(
                F("owner"),
                F("pinned").desc(),
                F("active_at").desc(),
                F("id").desc(),
                # Always empty here, but with it SQLite need not look at the rows themselves.
                F("deleted_at"),
                name="alias_list_order",
                condition=Q(deleted_at=None),
            ),
            models.Index(
                F("owner"), F("pinned").desc(), F("id").desc(), F("deleted_at"), name="alias_newest"
            ),
            # On which domains an owner has any: the list's filter offers these.
            models.Index(fields=["owner", "domain"], name="alias_domains", condition=Q(deleted_at=None)),
            models.Index(fields=["hostname"], name="alias_hostname"),
            models.Index(
                fields=["deleted_at"], name="alias_deleted_at", condition=Q(deleted_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.display_address

    @property
    def display_address(self) -> str:
        """The address as a person reads it, its domain in U-labels."""
        return display_address(self.address)

    @property
    def display_hostname(self) -> str:
        """The web site's host as a person reads it, or ""."""
        return domain_to_unicode(self.hostname)

    @property
    def site(self) -> str:
        """The web site's registrable domain, or ""."""
        return registrable_domain(self.hostname)

    @property
    def is_deleted(self) -> bool:
        return self.deleted_at is not None

    @property
    def last_activity(self) -> datetime | None:
        """When mail last reached the alias, forwarded or not; None where none ever did."""
        return self.active_at if self.forwards or self.blocks or self.replies else None

    @property
    def restorable_until(self) -> datetime | None:
        """When a deleted alias's time for restoring ends; None where it is not deleted."""
        return self.deleted_at + restore_period() if self.deleted_at else None

    @cached_property
    def destination_addresses(self) -> list[EmailAddress]:
        """Where the alias's mail goes, the first one first."""
        return [link.address for link in self.destination_links.all()]

    def link_to(self, addresses: Sequence[EmailAddress]) -> None:
        """Store the addresses where its mail goes, for an alias that has none yet."""
        links = [AliasDestination(alias=self, address=address) for address in addresses]
        if len(links) == 1:
            insert_row(links[0])
        else:
            AliasDestination.objects.bulk_create(links)
        self.destination_addresses = list(addresses)

    @transaction.atomic
    def set_destinations(self, destinations: Sequence[str]) -> None:
        """Forward to these addresses instead. Raises NotAnAddress, DestinationForbidden."""
        if self.owner is None:
            raise refusals.DestinationForbidden(gettext("This alias has no owner any more."))
        addresses = verified_addresses(self.owner, clean_destinations(destinations), self.address)
        if not list(Alias.objects.select_for_update().filter(pk=self.pk, owner=self.owner)):
            # Stripped meanwhile: what it forwards to would be kept for ever, and its owner could not leave.
            raise refusals.DestinationForbidden(gettext("This alias has no owner any more."))
        self.destination_links.all().delete()
        self.link_to(addresses)

    def enable(self) -> None:
        """Forward mail again, from the next message on. One that had expired does not end by itself again."""
        self.enabled = True
        self.save(update_fields=["enabled"])
        AliasExpiry.objects.forget_ended([self.pk])

    def disable(self) -> None:
        """Refuse mail, from the next message on."""
        Alias.objects.disable_all([self.pk])
        self.enabled = False

    def toggle(self) -> bool:
        """Switch over and return whether the alias is enabled now. Two at once cancel out."""
        flipped = Case(When(enabled=True, then=Value(False)), default=Value(True))
        this = Alias.objects.filter(pk=self.pk)
        if not this.exclude(is_heard("owner")).update(enabled=flipped):
            _toggle_heard(this)
        self.refresh_from_db(fields=["enabled"])
        if self.enabled:
            AliasExpiry.objects.forget_ended([self.pk])
        return self.enabled

    def edit(
        self,
        *,
        note: str | None = None,
        name: str | None = None,
        hostname: str | None = None,
        pinned: bool | None = None,
        hides_replies: bool | None = None,
        skips_encryption: bool | None = None,
        admits: str | None = None,
    ) -> None:
        """Change what the owner writes on the alias; None leaves a field as it is. Raises InvalidValue."""
        changes: dict[str, Any] = {}
        if note is not None:
            changes["note"] = clean_note(note)
        if name is not None:
            changes["name"] = clean_name(name)
        if hostname is not None:
            changes["hostname"] = bare_host(hostname)
        switches = {
            "pinned": pinned,
            "hides_replies": hides_replies,
            "skips_encryption": skips_encryption,
            "admits": admits,
        }
        changes |= {field: value for field, value in switches.items() if value is not None}
        site = self.site
        for field, value in changes.items():
            setattr(self, field, value)
        if changes:
            # Not on what is left of an alias that was stripped meanwhile.
            Alias.objects.filter(pk=self.pk, owner=self.owner_id).update(**changes)
        if self.site and self.site != site:
            # The website itself is not new to its alias. A block stays until the owner takes it back.
            SenderDomain.objects.filter(alias=self, domain=self.site).exclude(
                answer=SenderAnswer.BLOCK
            ).delete()

    @transaction.atomic
    def change(self, *, destinations: Sequence[str] | None = None, **changes: Any) -> None:
        """`edit` and `set_destinations` as one change: all of it, or nothing. Raises as they do."""
        self.edit(**changes)
        if destinations is not None:
            self.set_destinations(destinations)

    def soft_delete(self) -> None:
        """Delete: mail is refused, the owner can restore it for ALIAS_RESTORE_DAYS days."""
        if self.deleted_at is None:
            self.deleted_at = timezone.now()
            self.save(update_fields=["deleted_at"])

    @transaction.atomic
    def restore(self) -> None:
        """Take a deletion back, the switch as it was. Raises NotRestorable, QuotaReached."""
        if self.owner is not None and self.domain.alias_quota is not None:
            hold_creations(self.owner)
            check_quota(self.owner, self.domain)
        restored = Alias.objects.deleted().filter(
            pk=self.pk, deleted_at__gt=timezone.now() - restore_period()
        )
        if not restored.update(deleted_at=None):
            raise refusals.NotRestorable(gettext("This alias can no longer be restored."))
        self.deleted_at = None


class AliasDestination(models.Model):
    """One of the addresses an alias forwards to; in the order in which they were given."""

    # Its index is the one of `alias_destination_unique`.
    alias = models.ForeignKey(Alias, models.CASCADE, related_name="destination_links", db_index=False)
    address = models.ForeignKey(EmailAddress, models.PROTECT, related_name="alias_links")

    class Meta:
        verbose_name = _("destination")
        verbose_name_plural = _("destinations")
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["alias", "address"], name="alias_destination_unique")]

    def __str__(self) -> str:
        return f"{self.alias_id} → {self.address_id}"


def restore_period() -> timedelta:
    """How long a deleted alias can be restored."""
    return timedelta(days=settings.ALIAS_RESTORE_DAYS)


def check_quota(owner: User, domain: Domain) -> None:
    """Raise QuotaReached where the domain has a quota and `owner` has that many aliases there."""
    if domain.alias_quota is None:
        return
    if Alias.objects.owned_by(owner).present().filter(domain_id=domain.pk).count() >= domain.alias_quota:
        raise refusals.QuotaReached(
            ngettext(
                "You already have %(quota)s alias on this domain, as many as it allows.",
                "You already have %(quota)s aliases on this domain, as many as it allows.",
                domain.alias_quota,
            )
            % {"quota": domain.alias_quota}
        )
