"""What mail did: activity that its owner may look at, and what keeps a message from arriving twice."""

from datetime import timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aliases.models import Alias

# A message that is handed over again within this time is recognised: longer than queues keep mail.
DELIVERY_MEMORY = timedelta(days=5)
SENDER_MAX = 320

# A destination is paused after so many bounces of the kind "no such mailbox", over at least this
# time, none of them this long after the one before.
BOUNCES_TO_PAUSE = 5
BOUNCES_SPAN = timedelta(days=1)
BOUNCES_GAP = timedelta(days=7)

# All statuses that say so (RFC 3463 §3.2, RFC 7505 §4.2): others of their class are about the sender, or
# about a configuration.
NO_MAILBOX = frozenset({"5.1.1", "5.1.6", "5.1.10", "5.2.1"})


class Deed(models.TextChoices):
    """What happened to a message."""

    FORWARD = "forward", _("forwarded")
    BLOCK = "block", _("blocked")
    BOUNCE = "bounce", _("bounced")


class ActivityQuerySet(models.QuerySet["Activity"]):
    def outdated(self) -> "ActivityQuerySet":
        """Activity older than ACTIVITY_DAYS days."""
        return self.filter(moment__lt=timezone.now() - timedelta(days=settings.ACTIVITY_DAYS))


class Activity(models.Model):
    """One message to an alias: when, what became of it, who wrote. Kept ACTIVITY_DAYS days."""

    alias = models.ForeignKey(Alias, models.CASCADE, related_name="activities")
    moment = models.DateTimeField(default=timezone.now)
    deed = models.CharField(max_length=10, choices=Deed)
    sender = models.CharField(max_length=SENDER_MAX, blank=True)
    destination = models.ForeignKey(EmailAddress, models.SET_NULL, null=True, related_name="+")

    objects = ActivityQuerySet.as_manager()

    class Meta:
        verbose_name = _("activity")
        verbose_name_plural = _("activities")
        indexes = [
            models.Index(F("alias"), F("moment").desc(), F("id").desc(), name="activity_of_alias"),
            models.Index(fields=["moment"], name="activity_moment"),
        ]

    def __str__(self) -> str:
        return f"{self.deed} {self.alias_id}"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def outdated(self) -> "DeliveryQuerySet":
        """Deliveries that nobody asks for any more."""
        return self.filter(moment__lt=timezone.now() - DELIVERY_MEMORY)


class Delivery(models.Model):
    """A message that is underway, or settled, for one alias and destination.

    One to a role (postmaster@, abuse@) or to a return path has neither: its digest tells which address.
    """

    alias = models.ForeignKey(Alias, models.CASCADE, related_name="deliveries", db_index=False, null=True)
    destination = models.ForeignKey(EmailAddress, models.CASCADE, related_name="+", null=True)
    digest = models.CharField(max_length=64)
    # None: about to be sent. Nobody knows the outcome where this does not change any more.
    accepted = models.BooleanField(null=True)
    moment = models.DateTimeField(default=timezone.now, db_index=True)

    objects = DeliveryQuerySet.as_manager()

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
    """The next hop, or a later one, would not take mail for a destination."""

    destination = models.ForeignKey(EmailAddress, models.CASCADE, related_name="bounces")
    moment = models.DateTimeField(default=timezone.now)
    # RFC 3463, as in 5.1.1
    status = models.CharField(max_length=12)
    is_no_mailbox = models.BooleanField()

    class Meta:
        indexes = [models.Index(fields=["destination", "moment"], name="bounce_of_destination")]

    def __str__(self) -> str:
        return f"{self.destination_id}: {self.status}"


class PausedDestination(models.Model):
    """A destination to which nothing is sent until its owner has tested it."""

    destination = models.OneToOneField(EmailAddress, models.CASCADE, primary_key=True, related_name="paused")
    since = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.destination_id)


def is_no_mailbox(status: str) -> bool:
    """Whether an enhanced status code (RFC 3463) says that there is no such mailbox."""
    return status in NO_MAILBOX


@transaction.atomic
def note_bounce(destination: EmailAddress, status: str) -> bool:
    """Count a bounce against a destination; True if it is paused now."""
    EmailAddress.objects.select_for_update().get(pk=destination.pk)
    Bounce.objects.create(destination=destination, status=status[:12], is_no_mailbox=is_no_mailbox(status))
    moments = list(
        Bounce.objects.filter(destination=destination, is_no_mailbox=True)
        .order_by("-moment")
        .values_list("moment", flat=True)[:100]
    )
    run = moments[:1]
    for moment in moments[1:]:
        if run[-1] - moment >= BOUNCES_GAP:
            break
        run.append(moment)
    if len(run) < BOUNCES_TO_PAUSE or run[0] - run[-1] < BOUNCES_SPAN:
        return False
    PausedDestination.objects.get_or_create(destination=destination)
    return True


def resume(destination: EmailAddress) -> None:
    """Send to the destination again; the bounces so far count no more."""
    PausedDestination.objects.filter(destination=destination).delete()
    Bounce.objects.filter(destination=destination).delete()


def readable(sender: str) -> str:
    """An envelope's or a header's address as it can be stored: whatever octets it was made of."""
    text = sender.encode("utf-8", "replace").decode("utf-8", "replace").replace("\0", "")
    return text[:SENDER_MAX]
