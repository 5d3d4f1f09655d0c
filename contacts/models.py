"""An alias's correspondents, and the addresses of ours that stand for them."""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases.models import Alias
from aliases.models.alias_queryset import SEARCH_MAX_CHARACTERS
from aliases.validation import NAME_MAX_CHARACTERS, clean_name, storable
from core.addresses import (
    ADDRESS_MAX_OCTETS,
    DOMAIN_MAX_OCTETS,
    LOCAL_PART_MAX_OCTETS,
    display_address,
)
from core.db.compiled import CompiledQuery
from core.db.fields import ByteOrderedField


class ContactQuerySet(models.QuerySet["Contact"]):
    """Questions about contacts; `contacts.book` makes them."""

    def owned_by(self, user: User) -> "ContactQuerySet":
        """The contacts of all aliases of `user` that are not deleted."""
        return self.filter(alias__owner=user, alias__deleted_at=None)

    def of(self, alias: Alias) -> "ContactQuerySet":
        """The contacts of one alias."""
        return self.filter(alias=alias)

    def admitted(self) -> "ContactQuerySet":
        """Whose mail an alias that takes mail only from people its owner knows lets through."""
        return self.filter(blocked=False, waiting=False)

    def waiting_for_owner(self) -> "ContactQuerySet":
        """Strangers who wrote to such an alias, and of whom its owner has said nothing yet."""
        return self.filter(blocked=False, waiting=True)

    def hold(self, keys: Collection[int]) -> set[int]:
        """Those of these contacts that are there, and stay until this transaction ends."""
        return {key for (key,) in _HOLD(keys=sorted(keys))} if keys else set()

    def newest_first(self) -> "ContactQuerySet":
        return self.order_by("-pk")

    def search(self, text: str) -> "ContactQuerySet":
        """Contacts with `text` in address or name, in any case; its beginning counts."""
        text = storable(text).strip()
        text = text[:SEARCH_MAX_CHARACTERS]
        if not text:
            return self
        return self.filter(Q(address__contains=text.lower()) | Q(name__icontains=text))


class Contact(models.Model):
    """Somebody who writes to an alias, or to whom its owner writes from it."""

    # Its index is `contact_newest`.
    alias = models.ForeignKey(
        Alias, models.CASCADE, related_name="contacts", db_index=False, verbose_name=_("alias")
    )
    # As contacts.addresses.correspondent_address returns it.
    address = models.CharField(_("address"), max_length=ADDRESS_MAX_OCTETS)
    # From the correspondent's own From field alone, until the owner writes another one.
    name = models.CharField(_("name"), max_length=NAME_MAX_CHARACTERS, blank=True)
    is_name_kept = models.BooleanField(default=False, editable=False)
    # Mail to it goes on to the correspondent. Random, and never given out again.
    reverse_address = ByteOrderedField(
        _("reverse address"), max_length=LOCAL_PART_MAX_OCTETS + 1 + DOMAIN_MAX_OCTETS
    )
    created = models.DateTimeField(_("created"), default=timezone.now)
    last_forward_at = models.DateTimeField(_("last mail"), null=True, blank=True)
    last_reply_at = models.DateTimeField(_("last reply"), null=True, blank=True)
    forwards = models.PositiveBigIntegerField(_("forwards"), default=0)
    replies = models.PositiveBigIntegerField(_("replies"), default=0)
    blocks = models.PositiveBigIntegerField(_("blocks"), default=0)
    blocked = models.BooleanField(_("blocked"), default=False)
    # A stranger who wrote to an alias that takes mail only from people its owner knows.
    waiting = models.BooleanField(_("waiting"), default=False)

    objects = ContactQuerySet.as_manager()

    if TYPE_CHECKING:
        from django.db.models.fields.related_descriptors import RelatedManager

        activities: RelatedManager[Any]

    class Meta:
        verbose_name = _("contact")
        verbose_name_plural = _("contacts")
        constraints = [
            models.UniqueConstraint(fields=["alias", "address"], name="contact_once"),
            models.UniqueConstraint(fields=["reverse_address"], name="contact_reverse_address_unique"),
        ]
        indexes = [
            models.Index(F("alias"), F("id").desc(), name="contact_newest"),
            models.Index(fields=["alias"], name="contact_blocked", condition=Q(blocked=True)),
        ]

    def __str__(self) -> str:
        return self.display_address

    @property
    def display_address(self) -> str:
        """The correspondent's address as a person reads it, its domain in U-labels."""
        return display_address(self.address)

    @property
    def last_activity(self) -> datetime | None:
        """When mail last went either way; None if none ever did."""
        return max(filter(None, (self.last_forward_at, self.last_reply_at)), default=None)

    def block(self) -> None:
        """Refuse the correspondent's mail to this alias, from the next message on."""
        self._set(blocked=True, waiting=False)

    def unblock(self) -> None:
        """Take the correspondent's mail again: the owner knows them now."""
        self._set(blocked=False, waiting=False)

    def admit(self) -> None:
        """Take mail of somebody who was waiting."""
        self._set(waiting=False)

    def toggle(self) -> bool:
        """Switch over and return whether the contact is blocked now. Two at once cancel out."""
        flipped = Case(When(blocked=True, then=Value(False)), default=Value(True))
        Contact.objects.filter(pk=self.pk).update(blocked=flipped, waiting=False)
        self.refresh_from_db(fields=["blocked", "waiting"])
        return self.blocked

    def rename(self, name: str) -> None:
        """Show this name from now on, whatever the correspondent's mail says; "" returns to that. Raises
        InvalidValue."""
        name = clean_name(name)
        self._set(name=name, is_name_kept=bool(name))

    def _set(self, **values: Any) -> None:
        for field, value in values.items():
            setattr(self, field, value)
        self.save(update_fields=list(values))


# In the order of their keys, so that two transactions do not wait for each other.
_HOLD = CompiledQuery(
    lambda keys: (
        Contact.objects.select_for_update(no_key=True).filter(pk__among=keys).order_by("pk").values_list("pk")
    ),
    keys=models.BigIntegerField(),
)
