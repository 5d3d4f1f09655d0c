"""How a user likes new aliases, the domain on which one is made, and how answers from them go out."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases.models.expiry import ExpiryRules
from aliases.validation import NAME_MAX_CHARACTERS
from domains.models import AliasStyle, Domain


class SenderFormat(models.TextChoices):
    """How a correspondent's name and address are shown beside a reverse address: SimpleLogin's five ways."""

    AT = "AT", _("John Wick - john at wick.example")
    A = "A", _("John Wick - john(a)wick.example")
    NAME_ONLY = "NAME_ONLY", _("John Wick")
    AT_ONLY = "AT_ONLY", _("john at wick.example")
    NO_NAME = "NO_NAME", _("no name")


class AliasPreferences(ExpiryRules):
    """How a user likes new aliases, and answers from them.

    The rules of expiry, and whether replies hide the user, are for aliases made from then on.
    """

    user = models.OneToOneField(User, models.CASCADE, related_name="alias_preferences", primary_key=True)
    default_domain = models.ForeignKey(
        Domain, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("default domain")
    )
    style = models.CharField(_("alias style"), max_length=10, choices=AliasStyle, default=AliasStyle.WORDS)
    hides_replies = models.BooleanField(_("replies from new aliases hide me"), default=True)
    sender_format = models.CharField(
        _("how correspondents are shown"), max_length=10, choices=SenderFormat, default=SenderFormat.AT
    )
    # Of aliases that have none of their own.
    reply_name = models.CharField(
        _("name in replies"), max_length=NAME_MAX_CHARACTERS, blank=True, default="", db_default=""
    )
    replies_to_others = models.BooleanField(
        _("a reply may also go to addresses that are not contacts of the alias"), default=False
    )
    strict_replies = models.BooleanField(_("only the alias's own destinations may reply"), default=False)
    cleans_text = models.BooleanField(
        _("replace my own address and reverse addresses in the text of replies"), default=False
    )
    allows_revealing = models.BooleanField(
        _("send calendar answers, receipts and signatures that name my own address"), default=False
    )
    keeps_returned = models.BooleanField(_("keep messages that come back"), default=False, db_default=False)
    tells_of_new_senders = models.BooleanField(
        _("a daily mail about new senders"), default=False, db_default=False
    )

    class Meta:
        verbose_name = _("alias preferences")
        verbose_name_plural = _("alias preferences")

    def __str__(self) -> str:
        return f"{self.user_id}: {self.style}"
