"""An alias and its life: given out once, switched, changed, deleted, restored."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from allauth.account.models import EmailAddress
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases import exceptions as refusals
from aliases.creation_limits import hold_creations
from aliases.destinations import verified_addresses
from aliases.models.alias_queryset import AliasQuerySet, restore_period
from aliases.models.destination import AliasDestination
from aliases.models.expiry import AliasExpiry
from aliases.models.sender import Admits, SenderAnswer, SenderDomain
from aliases.validation import NAME_MAX_CHARACTERS, clean_destinations, clean_name, clean_note
from aliases.websites import bare_host
from core.addresses import DOMAIN_MAX_OCTETS, LOCAL_PART_MAX_OCTETS, display_address, domain_to_unicode
from core.db.changes import insert_row
from core.db.fields import ByteOrderedField
from core.public_suffixes import registrable_domain
from domains.models import Domain

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager


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
        destination_links: RelatedManager[AliasDestination]
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
        Alias.objects.filter(pk=self.pk).switch_over()
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
