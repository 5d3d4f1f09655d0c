"""As whom a source outside this site (docs/sign-in.md) knows a user."""

from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

if TYPE_CHECKING:
    from accounts.models.user import User

ISSUER_MAX = 255
SUBJECT_MAX = 255  # OpenID Connect Core 1.0 §2: `sub` has at most 255 ASCII characters


class IdentityQuerySet(models.QuerySet["Identity"]):
    def owned_by(self, user: "User") -> Self:
        """The identities of this user."""
        return self.filter(user=user)

    def named(self, issuer: str, subject: str) -> Self:
        """The one that the issuer calls `subject`, if there is one."""
        return self.filter(issuer=issuer, subject=subject)


class Identity(models.Model):
    """A user as an issuer knows them: who comes with this subject is signed in as this user.

    `gave_admin` and `gave_domains` are the rights that it gave, and so takes away again; what an admin gave
    by hand stays.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="identities", verbose_name=_("user")
    )
    issuer = models.CharField(_("issuer"), max_length=ISSUER_MAX, editable=False)
    subject = models.CharField(
        pgettext_lazy("OpenID Connect", "subject"), max_length=SUBJECT_MAX, editable=False
    )
    gave_admin = models.BooleanField(_("makes a global admin"), default=False, editable=False)
    # Names of domains.
    gave_domains = models.JSONField(default=list, editable=False)
    created = models.DateTimeField(_("connected"), default=timezone.now, editable=False)
    last_used = models.DateTimeField(_("last used"), null=True, editable=False)

    objects = IdentityQuerySet.as_manager()

    class Meta:
        verbose_name = _("connected account")
        verbose_name_plural = _("connected accounts")
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="identity_unique")]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.issuer}"
