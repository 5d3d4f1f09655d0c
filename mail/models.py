"""Activity, which the owner can see, and what keeps a message from arriving twice."""

from datetime import datetime, timedelta
from typing import Any

from allauth.account.models import EmailAddress
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases.models import Alias
from contacts.models import Contact
from core.addresses import DOMAIN_MAX_OCTETS
from core.sealing import seal, unseal
from mail.reasons import explain

SENDER_MAX = 320
REASON_MAX = 300
STATUS_MAX = 12
# How long a message that came back is kept, and the octets of one, and of all of one person's.
RETURNED_DAYS = 7
RETURNED_OCTETS = 5 * 1024 * 1024
RETURNED_OCTETS_OF_ALL = 50 * 1024 * 1024
_PURPOSE = "returned message"


class Event(models.TextChoices):
    """What happened to a message."""

    FORWARD = "forward", _("forwarded")
    BLOCK = "block", _("blocked")
    BOUNCE = "bounce", _("bounced")
    REPLY = "reply", _("replied")


class Caution(models.TextChoices):
    """Why a message went on as it came, although replies are to hide the owner, or it was to be encrypted."""

    FORGED = "forged", _("The sender may be forged. A reply would show your own address.")
    NO_CONTACT = "no_contact", _("Too many new correspondents today. A reply would show your own address.")
    CLEAR = "clear", _("Sent without encryption: the destination's OpenPGP key could not be used.")


class Activity(models.Model):
    """One message to an alias: when it came, what happened, who sent it. Kept for ACTIVITY_DAYS days."""

    # Its index is `activity_of_alias`.
    alias = models.ForeignKey(Alias, models.CASCADE, related_name="activities", db_index=False)
    moment = models.DateTimeField(default=timezone.now)
    event = models.CharField(max_length=10, choices=Event)
    sender = models.CharField(max_length=SENDER_MAX, blank=True)
    destination = models.ForeignKey(EmailAddress, models.SET_NULL, null=True, related_name="+")
    # Whether it went from the alias to the correspondent.
    is_reply = models.BooleanField(default=False, db_default=False, editable=False)
    # The correspondent, if that is a contact of the alias. Its index is `activity_of_contact`.
    contact = models.ForeignKey(
        Contact, models.SET_NULL, null=True, related_name="activities", db_index=False
    )
    # Of a bounce: RFC 3463's code, as in 5.1.1, and the other server's words in one line; "" if unknown.
    status = models.CharField(_("status"), max_length=STATUS_MAX, blank=True, default="", db_default="")
    reason = models.CharField(_("reason"), max_length=REASON_MAX, blank=True, default="", db_default="")
    caution = models.CharField(max_length=10, choices=Caution, blank=True, default="", db_default="")
    # Who wrote to an alias that was made for a website, as a SenderDomain has it; "" for the website itself.
    sender_domain = models.CharField(
        max_length=DOMAIN_MAX_OCTETS, blank=True, default="", db_default="", editable=False
    )

    class Meta:
        verbose_name = _("activity")
        verbose_name_plural = _("activities")
        indexes = [
            models.Index(F("alias"), F("moment").desc(), F("id").desc(), name="activity_of_alias"),
            models.Index(fields=["moment"], name="activity_moment"),
            models.Index(
                fields=["contact"], name="activity_of_contact", condition=models.Q(contact__isnull=False)
            ),
            models.Index(
                F("alias"),
                F("moment").desc(),
                F("id").desc(),
                name="activity_failed",
                condition=models.Q(event=Event.BOUNCE),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.alias_id}"


class FailedDeliveryQuerySet(models.QuerySet["FailedDelivery"]):
    def owned_by(self, user: User) -> "FailedDeliveryQuerySet":
        """What failed of the mail to this user's aliases, deleted ones included."""
        return self.filter(alias__owner=user)

    def newest_first(self) -> "FailedDeliveryQuerySet":
        """With all that is shown of each row, in one statement."""
        related = self.select_related("alias", "contact", "destination", "returned")
        related = related.defer("returned__sealed")
        return related.order_by("-moment", "-pk")


class FailedDeliveryManager(models.Manager["FailedDelivery"]):
    def get_queryset(self) -> FailedDeliveryQuerySet:
        return FailedDeliveryQuerySet(self.model, using=self._db).filter(event=Event.BOUNCE)


class FailedDelivery(Activity):
    """A message that a destination refused or that came back from there; or a reply that came back."""

    objects = FailedDeliveryManager.from_queryset(FailedDeliveryQuerySet)()  # type: ignore[misc]

    class Meta:
        proxy = True
        verbose_name = _("failed delivery")
        verbose_name_plural = _("failed deliveries")

    @property
    def explanation(self) -> str:
        """What the status means, in plain words."""
        return explain(self.status)

    @property
    def kept(self) -> "ReturnedMessage | None":
        """The message that came back, if it is kept."""
        return getattr(self, "returned", None)

    @transaction.atomic
    def remove(self) -> None:
        """Delete the row and what is kept of the message. The alias's figures stay."""
        ReturnedMessage.objects.filter(activity=self.pk).delete()
        self.delete()


class ReturnedMessage(models.Model):
    """A message that came back with a bounce, for its owner to download within RETURNED_DAYS.

    It is sealed (core.sealing): a copy of the database alone does not reveal it.
    """

    # Without a constraint, old activity is deleted by one statement that asks for no messages. They are
    # deleted earlier, by their own moment.
    activity = models.OneToOneField(
        Activity, models.DO_NOTHING, primary_key=True, related_name="returned", db_constraint=False
    )
    alias = models.ForeignKey(Alias, models.CASCADE, related_name="returned_messages")
    moment = models.DateTimeField(default=timezone.now, db_index=True)
    octets = models.PositiveIntegerField()
    sealed = models.TextField()

    def __str__(self) -> str:
        return str(self.activity_id)

    @property
    def kept_until(self) -> datetime:
        return self.moment + timedelta(days=RETURNED_DAYS)

    @property
    def content(self) -> bytes:
        """The message. Raises CannotUnseal if its secret key is no longer known."""
        return unseal(_PURPOSE, self.sealed)

    @classmethod
    def keep(cls, activity: Activity, content: bytes) -> None:
        """Store a message, unless it or all that is kept for its owner would be too large."""
        if len(content) > RETURNED_OCTETS:
            return
        own = cls.objects.filter(alias__owner__aliases=activity.alias_id)
        if (own.aggregate(all=models.Sum("octets"))["all"] or 0) + len(content) <= RETURNED_OCTETS_OF_ALL:
            cls.objects.create(
                activity=activity,
                alias_id=activity.alias_id,
                octets=len(content),
                sealed=seal(_PURPOSE, content),
            )


class Delivery(models.Model):
    """A message that is underway, or settled, for one alias and destination.

    One to a role (postmaster@, abuse@) or to a return path has neither: its digest tells which address.
    """

    alias = models.ForeignKey(Alias, models.CASCADE, related_name="deliveries", db_index=False, null=True)
    destination = models.ForeignKey(EmailAddress, models.CASCADE, related_name="+", null=True)
    digest = models.CharField(max_length=64)
    # None: about to be sent. If it stays None, the outcome is unknown.
    accepted = models.BooleanField(null=True)
    moment = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["alias", "destination", "digest"], name="delivery_once"),
            models.UniqueConstraint(
                fields=["digest"], condition=models.Q(alias=None), name="delivery_once_without_alias"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.alias_id} → {self.destination_id}"


class Bounce(models.Model):
    """The next hop, or a later one, refused mail for a destination."""

    # Its index is `bounce_of_destination`.
    destination = models.ForeignKey(EmailAddress, models.CASCADE, related_name="bounces", db_index=False)
    moment = models.DateTimeField(default=timezone.now)
    # RFC 3463, as in 5.1.1; "" if unknown
    status = models.CharField(max_length=STATUS_MAX, blank=True)
    is_no_mailbox = models.BooleanField()
    # Which copy of which message came back (mail.delivery.return_path): it counts once. "": it never left.
    report = models.CharField(max_length=48, blank=True, default="")

    class Meta:
        indexes = [
            models.Index(fields=["destination", "moment"], name="bounce_of_destination"),
            models.Index(fields=["status", "moment"], name="bounce_of_status"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["destination", "report"], condition=~models.Q(report=""), name="bounce_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.destination_id}: {self.status}"


class PausedDestination(models.Model):
    """A destination to which nothing is sent until its owner has tested it."""

    destination = models.OneToOneField(EmailAddress, models.CASCADE, primary_key=True, related_name="paused")
    since = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.destination_id)


# How long before its end the owner of a key is told of it.
KEY_WARNING = timedelta(days=14)


class DestinationKeyQuerySet(models.QuerySet["DestinationKey"]):
    def owned_by(self, user: User) -> "DestinationKeyQuerySet":
        return self.filter(destination__user=user)

    def in_use(self) -> "DestinationKeyQuerySet":
        """Keys that mail is encrypted to, or should be."""
        return self.filter(is_used=True)

    def ending(self) -> "DestinationKeyQuerySet":
        """Keys in use that expire within KEY_WARNING, or have expired."""
        return self.ending_by(warned_until())

    def ending_by(self, moment: Any) -> "DestinationKeyQuerySet":
        """Keys in use that expire until then, or have expired."""
        return self.in_use().filter(expires_at__lte=moment)


def warned_until() -> datetime:
    """The end of the time within which an owner is told of a key's end."""
    return timezone.now() + KEY_WARNING


class DestinationKey(models.Model):
    """The OpenPGP key to which mail for a destination is encrypted (mail.encryption.keys)."""

    class Otherwise(models.TextChoices):
        """What happens to mail while the key cannot be used."""

        HOLD = "hold", _("hold it back")
        CLEAR = "clear", _("send it without encryption")

    class Told(models.TextChoices):
        """Of what the owner was told last."""

        SOON = "soon"
        OVER = "over"

    destination = models.OneToOneField(
        EmailAddress,
        models.CASCADE,
        primary_key=True,
        related_name="openpgp_key",
        verbose_name=_("destination"),
    )
    # Hexadecimal digits in lower case: 40, or 64 of a key of version 6 (RFC 9580 §5.5.4).
    fingerprint = models.CharField(_("fingerprint"), max_length=64)
    # The public key without armour, as mail.encryption.certificates has read it.
    certificate = models.BinaryField()
    expires_at = models.DateTimeField(_("expires"), null=True)
    is_used = models.BooleanField(_("in use"), default=True)
    hides_subject = models.BooleanField(_("hides the subject"), default=False)
    otherwise = models.CharField(
        _("if the key cannot be used"), max_length=5, choices=Otherwise, default=Otherwise.HOLD
    )
    told = models.CharField(max_length=4, choices=Told, blank=True, default="")
    since = models.DateTimeField(_("since"), default=timezone.now)

    objects = DestinationKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("OpenPGP key")
        verbose_name_plural = _("OpenPGP keys")

    def __str__(self) -> str:
        return self.fingerprint

    @property
    def shown_fingerprint(self) -> str:
        """The fingerprint in capitals and groups of four, as other programs show it."""
        text = self.fingerprint.upper()
        return " ".join(text[at : at + 4] for at in range(0, len(text), 4))

    @property
    def is_over(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def ends_soon(self) -> bool:
        """Whether it expires within KEY_WARNING, and has not done so."""
        is_near = self.expires_at is not None and self.expires_at <= timezone.now() + KEY_WARNING
        return is_near and not self.is_over

    @property
    def holds_back(self) -> bool:
        return self.otherwise == self.Otherwise.HOLD


class SiteFault(models.Model):
    """Something that refuses all of this site's mail, or much of it, until an administrator acts."""

    # A code of ours and the other server's: "next hop: RCPT 530", "refusals: 5.7.1"; no address.
    what = models.CharField(_("what"), max_length=100, unique=True)
    first = models.DateTimeField(_("first"), default=timezone.now)
    last = models.DateTimeField(_("last"), default=timezone.now, db_index=True)
    told_at = models.DateTimeField(_("reported at"), null=True)

    class Meta:
        verbose_name = _("mail fault")
        verbose_name_plural = _("mail faults")

    def __str__(self) -> str:
        return self.what


def readable(sender: str) -> str:
    """An envelope's or a header's address as it can be stored, whatever octets it consists of."""
    text = sender.encode("utf-8", "replace").decode("utf-8", "replace").replace("\0", "")
    return text[:SENDER_MAX]
