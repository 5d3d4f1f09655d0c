"""Where an alias's mail goes."""

from allauth.account.models import EmailAddress
from django.db import models
from django.utils.translation import gettext_lazy as _


class AliasDestination(models.Model):
    """One of the addresses an alias forwards to; in the order in which they were given."""

    # Its index is the one of `alias_destination_unique`.
    alias = models.ForeignKey(
        "aliases.Alias", models.CASCADE, related_name="destination_links", db_index=False
    )
    address = models.ForeignKey(EmailAddress, models.PROTECT, related_name="alias_links")

    class Meta:
        verbose_name = _("destination")
        verbose_name_plural = _("destinations")
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["alias", "address"], name="alias_destination_unique")]

    def __str__(self) -> str:
        return f"{self.alias_id} → {self.address_id}"
