"""Activity, which the owner can see, and what keeps a message from arriving twice."""

from allauth.account.models import EmailAddress
from django.db import models
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aliases.models import Alias
from contacts.models import Contact

SENDER_MAX = 320
REASON_MAX = 300


class Event(models.TextChoices):
    """What happened to a message."""

    FORWARD = "forward", _("forwarded")
    BLOCK = "block", _("blocked")
    BOUNCE = "bounce", _("bounced")
    REPLY = "reply", _("replied")


class Activity(models.Model):
    """One message to an alias: when it came, what happened, who sent it. Kept for ACTIVITY_DAYS days."""

    # Its index is `activity_of_alias`.
    alias = models.ForeignKey(Alias, models.CASCADE, related_name="activities", db_index=False)
    moment = models.DateTimeField(default=timezone.now)
    event = models.CharField(max_length=10, choices=Event)
    sender = models.CharField(max_length=SENDER_MAX, blank=True)
    destination = models.ForeignKey(EmailAddress, models.SET_NULL, null=True, related_name="+")
    # The correspondent, if that is a contact of the alias. Its index is `activity_of_contact`.
    contact = models.ForeignKey(
        Contact, models.SET_NULL, null=True, related_name="activities", db_index=False
    )
    # Of a bounce: the other server's words, in one line; "" if there are none.
    reason = models.CharField(max_length=REASON_MAX, blank=True, default="", db_default="")

    class Meta:
        verbose_name = _("activity")
        verbose_name_plural = _("activities")
        indexes = [
            models.Index(F("alias"), F("moment").desc(), F("id").desc(), name="activity_of_alias"),
            models.Index(fields=["moment"], name="activity_moment"),
            models.Index(
                fields=["contact"], name="activity_of_contact", condition=models.Q(contact__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.alias_id}"


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
    status = models.CharField(max_length=12, blank=True)
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
