"""What admins and managers do to other people's data: written once, never changed, read in the admin."""

from datetime import timedelta
from typing import Any, NoReturn

from django.conf import settings
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

SUBJECT_MAX = 400
DETAIL_MAX = 1000
ACTION_MAX = 60


class AppendOnly(TypeError):
    """An audit entry is neither changed nor deleted."""


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def record(
        self, request: HttpRequest | None, action: str, subject: models.Model | None = None, detail: str = ""
    ) -> "AuditEntry":
        """Record that the request's user (None: a command) did `action` (`alias.disable`) to `subject`.

        `detail` must not contain a secret: it is kept for AUDIT_DAYS days.
        """
        actor: Any = getattr(request, "user", None)
        is_known = actor is not None and actor.is_authenticated
        return self.create(
            actor=actor if is_known else None,
            actor_name=str(actor) if is_known else "",
            action=action[:ACTION_MAX],
            subject_type=str(subject._meta.label_lower) if subject is not None else "",
            subject_key=str(subject.pk) if subject is not None else "",
            subject=str(subject)[:SUBJECT_MAX] if subject is not None else "",
            detail=detail[:DETAIL_MAX],
            remote_address=str(request.META.get("REMOTE_ADDR", ""))[:45] if request is not None else "",
        )

    def prune(self) -> int:
        """Delete the entries that are older than AUDIT_DAYS days, and return their number."""
        old = self.filter(moment__lt=timezone.now() - timedelta(days=settings.AUDIT_DAYS))
        deleted, _rows = super(AuditQuerySet, old).delete()
        return deleted

    def update(self, **values: Any) -> NoReturn:
        raise AppendOnly("An audit entry is never changed.")

    def delete(self) -> NoReturn:
        raise AppendOnly("An audit entry is never deleted.")


class AuditEntry(models.Model):
    """Who did what to what, when, from where. Kept for AUDIT_DAYS days."""

    moment = models.DateTimeField(_("when"), default=timezone.now, editable=False)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("who"),
    )
    actor_name = models.CharField(_("who, by address"), max_length=254, blank=True, editable=False)
    action = models.CharField(_("what"), max_length=ACTION_MAX, editable=False)
    subject_type = models.CharField(_("kind"), max_length=60, blank=True, editable=False)
    subject_key = models.CharField(_("key"), max_length=40, blank=True, editable=False)
    subject = models.CharField(_("to what"), max_length=SUBJECT_MAX, blank=True, editable=False)
    detail = models.CharField(_("detail"), max_length=DETAIL_MAX, blank=True, editable=False)
    remote_address = models.CharField(_("from where"), max_length=45, blank=True, editable=False)

    objects = AuditQuerySet.as_manager()

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        indexes = [
            models.Index(fields=["moment"], name="audit_moment"),
            models.Index(fields=["subject_type", "subject_key"], name="audit_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the entry. Raises AppendOnly for one that exists already."""
        if not self._state.adding:
            raise AppendOnly("An audit entry is never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly("An audit entry is never deleted.")
