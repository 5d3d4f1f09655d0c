"""Signs of life that web servers and mail processes leave in the database, which all hosts share."""

from datetime import timedelta

from django.db import models
from django.utils import timezone

# How often a mail process leaves one, and how old the last one of a process that lives can be.
EVERY = timedelta(seconds=30)
FRESH = timedelta(seconds=90)
KEPT = timedelta(days=1)


class HeartbeatQuerySet(models.QuerySet["Heartbeat"]):
    def leave(self, kind: "Heartbeat.Kind", name: str) -> None:
        """Write, in one statement, that this one is alive now."""
        self.bulk_create(
            [Heartbeat(kind=kind, name=name[:100], seen_at=timezone.now())],
            update_conflicts=True,
            unique_fields=["kind", "name"],
            update_fields=["seen_at"],
        )

    def end(self, kind: "Heartbeat.Kind", name: str) -> None:
        """Forget one that stops as it should."""
        self.filter(kind=kind, name=name[:100]).delete()

    def old(self) -> "HeartbeatQuerySet":
        """Of those that have not been alive for a day."""
        return self.filter(seen_at__lt=timezone.now() - KEPT)


class Heartbeat(models.Model):
    """When something that runs was last alive: a web server by its host, a mail process by host and id."""

    class Kind(models.TextChoices):
        WEB = "web"
        MAIL = "mail"

    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=100)
    seen_at = models.DateTimeField()

    objects = HeartbeatQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="heartbeat_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def is_fresh(self) -> bool:
        return self.seen_at > timezone.now() - FRESH
