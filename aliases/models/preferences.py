"""How a user likes new aliases, and the domain on which one is made."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases.models.expiry import ExpiryRules
from domains.models import AliasStyle, Domain


class AliasPreferences(ExpiryRules):
    """How a user likes new aliases. Its rules of expiry are for those made from then on."""

    user = models.OneToOneField(User, models.CASCADE, related_name="alias_preferences", primary_key=True)
    default_domain = models.ForeignKey(
        Domain, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("default domain")
    )
    style = models.CharField(_("alias style"), max_length=10, choices=AliasStyle, default=AliasStyle.WORDS)

    class Meta:
        verbose_name = _("alias preferences")
        verbose_name_plural = _("alias preferences")

    def __str__(self) -> str:
        return f"{self.user_id}: {self.style}"
