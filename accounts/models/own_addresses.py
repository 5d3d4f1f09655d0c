"""Users' own addresses: which may be used, which only receive, and what was changed about them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.addresses import AddressError, normalise_address, parse_without_tag
from core.mails import absolute_url

if TYPE_CHECKING:
    from accounts.models.user import User

# How long the mailed link can undo a change.
UNDO_PERIOD = timedelta(days=7)
# An undo also removes what was added in the period before the change.
KEPT = 2 * UNDO_PERIOD

SALT = "accounts.address-undo"

_uses: list[Callable[[str], bool]] = []


def register_address_use(is_used: Callable[[str], bool]) -> None:
    """Let no address that `is_used` says yes to become anybody's own. Call it in `AppConfig.ready`."""
    _uses.append(is_used)


def clean_email(email: str) -> str:
    """The address in its one form. Raises ValidationError if it is not valid."""
    try:
        return normalise_address(email)
    except AddressError as error:
        raise ValidationError(_("Enter a valid e-mail address."), code="invalid") from error


def is_available(email: str, owner: "User | None" = None) -> bool:
    """Whether `email` may become an address of `owner`, or of somebody new.

    Not if it is an alias: its mail would go in circles. Not if somebody else removed it lately and may
    still undo that.
    """
    changes = AddressChange.objects.exclude(user=owner) if owner else AddressChange.objects.all()
    return not any(is_used(email) for is_used in _uses) and not changes.holding(email).exists()


def check_available(email: str, owner: "User | None" = None) -> None:
    """Raise ValidationError unless the address is available, as in `is_available`."""
    if not is_available(email, owner):
        raise ValidationError(
            _("This address cannot be used here. Enter the address of one of your mailboxes."),
            code="address_is_alias",
        )


class DestinationOnly(models.Model):
    """Marks an own address that was added through the API: it receives, but never signs in."""

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
        """Those that their link can undo now."""
        return self.filter(at__gt=timezone.now() - UNDO_PERIOD, is_undoable=True, closed_at=None)

    def holding(self, email: str) -> Self:
        """Removals of verified addresses that may still be undone, and for which nobody else may have this
        address."""
        kind, since = AddressChange.Kind.REMOVED, timezone.now() - UNDO_PERIOD
        return self.filter(kind=kind, at__gt=since, held_as=_held_as(email), address=email)

    def holding_alias(self, address: Any) -> Self:
        """Removals because of which no alias may have this address, until they are deleted."""
        return self.filter(held_as=address)

    def untold(self) -> Self:
        """Those whose mail could not be sent and is still useful."""
        return self.filter(told_at=None, at__gt=timezone.now() - UNDO_PERIOD)

    def outdated(self) -> Self:
        """Those that no undo needs any more."""
        return self.filter(at__lte=timezone.now() - KEPT)

    def record(
        self, user: "User", kind: "AddressChange.Kind", address: EmailAddress, **facts: Any
    ) -> "AddressChange":
        """Record a change to one of the user's addresses, while `user.email` is still the old primary one."""
        if kind == AddressChange.Kind.REMOVED:
            # Nobody has shown an unverified one to be theirs: it is kept for nobody.
            facts["held_as"] = _held_as(address.email) if address.verified else ""
            facts["was_verified"] = address.verified
            facts["was_destination_only"] = DestinationOnly.objects.filter(address=address).exists()
        return self.create(user=user, kind=kind, address=address.email, before=user.email, **facts)

    def by_token(self, token: str) -> "AddressChange | None":
        """The change that a mailed link undoes, or None if it cannot be undone any more."""
        try:
            key = int(signing.Signer(salt=SALT).unsign(token))
        except (signing.BadSignature, ValueError):
            return None
        return self.open().filter(pk=key).first()


class AddressChange(models.Model):
    """One change to a user's own addresses; deleted after two undo periods.

    The mail about it goes to `before`, the primary address until then. Its link brings that address
    back. The earliest link wins: it ends those of all later changes.
    """

    class Kind(models.TextChoices):
        ADDED = "added"
        VERIFIED = "verified"
        PRIMARY = "primary"
        REMOVED = "removed"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="address_changes")
    kind = models.CharField(max_length=10, choices=Kind)
    # The address that was added, verified, made primary or removed; and the primary one until then.
    address = models.EmailField()
    before = models.EmailField()
    at = models.DateTimeField(default=timezone.now)
    by_api = models.BooleanField(default=False)
    # Of a removed address: which alias address it blocks ("": none), and how an undo restores it.
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
        """When its link expires."""
        return self.at + UNDO_PERIOD

    @property
    def link(self) -> str:
        """The absolute URL of the page that undoes it: only for the holder of the address before."""
        return absolute_url("address-undo", token=signing.Signer(salt=SALT).sign(str(self.pk)))


def _held_as(email: str) -> str:
    return str(parse_without_tag(email))
