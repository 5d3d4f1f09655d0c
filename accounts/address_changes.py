"""What happened to people's own addresses, and which of them receive only."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core import signing
from django.db import models
from django.urls import reverse
from django.utils import timezone

from core.addresses import parse_without_tag

if TYPE_CHECKING:
    from accounts.models import User

# For how long the mailed link takes a change back.
UNDO_PERIOD = timedelta(days=7)
# An undo also takes away what was added in the period before the change.
KEPT = 2 * UNDO_PERIOD

# A signer needs the secret key, which is not there yet when the first start loads this.
SALT = "accounts.address-undo"


class DestinationOnly(models.Model):
    """Marks an own address that was added through the API: it receives, and never signs in."""

    address = models.OneToOneField(
        EmailAddress, models.CASCADE, primary_key=True, related_name="destination_only"
    )

    def __str__(self) -> str:
        return str(self.address_id)


class AddressChangeQuerySet(models.QuerySet["AddressChange"]):
    def owned_by(self, user: "User") -> Self:
        """The changes of this user's addresses."""
        return self.filter(user=user)

    def open(self) -> Self:
        """Those that their link takes back now."""
        return self.filter(at__gt=timezone.now() - UNDO_PERIOD, is_undoable=True, closed_at=None)

    def holding(self, email: str) -> Self:
        """The removals for whose undo this address is kept: nobody else may have it."""
        kind, since = AddressChange.Kind.REMOVED, timezone.now() - UNDO_PERIOD
        return self.filter(kind=kind, at__gt=since, held_as=_held_as(email), address=email)

    def holding_alias(self, address: Any) -> Self:
        """Removals for whose undo no alias may be called `address`, until they are forgotten."""
        return self.filter(held_as=address)

    def untold(self) -> Self:
        """Those whose mail could not be sent, as long as it is of use."""
        return self.filter(told_at=None, at__gt=timezone.now() - UNDO_PERIOD)

    def outdated(self) -> Self:
        """Those that no undo asks for any more."""
        return self.filter(at__lte=timezone.now() - KEPT)

    def record(
        self, user: "User", kind: "AddressChange.Kind", address: EmailAddress, **facts: Any
    ) -> "AddressChange":
        """Write down what is done to an address of the user, whose primary one is still `user.email`."""
        if kind == AddressChange.Kind.REMOVED:
            facts["held_as"] = _held_as(address.email)
            facts["was_verified"] = address.verified
            facts["was_destination_only"] = DestinationOnly.objects.filter(address=address).exists()
        return self.create(user=user, kind=kind, address=address.email, before=user.email, **facts)

    def by_token(self, token: str) -> "AddressChange | None":
        """The change that a mailed link is about, if it can still be taken back."""
        try:
            key = int(signing.Signer(salt=SALT).unsign(token))
        except (signing.BadSignature, ValueError):
            return None
        return self.open().filter(pk=key).first()


class AddressChange(models.Model):
    """One thing that was done to a user's own addresses; forgotten after two undo periods.

    The mail about it goes to `before`, the address that was primary until then. Its link brings that
    address back (`mailboxes.undo`). The earliest one wins: it ends the links of all later changes.
    """

    class Kind(models.TextChoices):
        ADDED = "added"
        VERIFIED = "verified"
        PRIMARY = "primary"
        REMOVED = "removed"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="address_changes")
    kind = models.CharField(max_length=10, choices=Kind)
    # What was added, verified, made primary or removed; and the primary address until then.
    address = models.EmailField()
    before = models.EmailField()
    at = models.DateTimeField(default=timezone.now)
    by_api = models.BooleanField(default=False)
    # Of a removed address: what no alias may be called meanwhile, and how it comes back.
    held_as = models.CharField(max_length=254, blank=True, db_index=True)
    was_verified = models.BooleanField(default=False)
    was_destination_only = models.BooleanField(default=False)
    is_undoable = models.BooleanField(default=True)
    closed_at = models.DateTimeField(null=True)
    told_at = models.DateTimeField(null=True)

    objects = AddressChangeQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.kind}"

    @property
    def until(self) -> datetime:
        """When its link ends."""
        return self.at + UNDO_PERIOD

    @property
    def link(self) -> str:
        """The absolute URL of the page that takes it back, for the holder of the address before alone."""
        token = signing.Signer(salt=SALT).sign(str(self.pk))
        return f"{settings.SITE_URL}{reverse('address-undo', args=[token])}"


def _held_as(email: str) -> str:
    return str(parse_without_tag(email))
