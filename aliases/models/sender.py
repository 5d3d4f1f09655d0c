"""Who may write to an alias, who has written to one that was made for a website, and what its owner says of
them."""

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.addresses import DOMAIN_MAX_OCTETS, domain_to_unicode

# Senders of one alias that are remembered: whoever writes from ever new domains fills no table.
SENDERS_MAX = 100


class Admits(models.TextChoices):
    """Whose mail an alias takes."""

    ALL = "all", _("everybody's")
    # Mail from others than its contacts is refused; or their servers are told to try again, for days.
    KNOWN = "known", _("only from people that I know; refuse other mail")
    KNOWN_LATER = "known_later", _("only from people that I know; let other mail wait until I decide")


class SenderAnswer(models.TextChoices):
    """What an alias's owner says of a sender who is new."""

    FINE = "fine", _("fine")
    BLOCK = "block", _("blocked")
    ONLY_KNOWN = "known", _("not known")
    DISABLE = "disable", _("alias disabled")


class SenderDomainQuerySet(models.QuerySet["SenderDomain"]):
    def owned_by(self, user: User) -> "SenderDomainQuerySet":
        """The senders to all aliases of `user` that are not deleted."""
        return self.filter(alias__owner=user, alias__deleted_at=None)

    def unanswered(self) -> "SenderDomainQuerySet":
        """New ones, of whom the alias's owner has said nothing yet."""
        return self.filter(answer="")

    def blocked(self) -> "SenderDomainQuerySet":
        """Those whose mail the alias refuses."""
        return self.filter(answer=SenderAnswer.BLOCK)

    def dispensable(self) -> "SenderDomainQuerySet":
        """Those about whom the owner has decided nothing that holds for their next message."""
        return self.exclude(answer__in=[SenderAnswer.FINE, SenderAnswer.BLOCK])


class SenderDomain(models.Model):
    """A domain, not the website's own, from which mail has come to an alias that was made for a website."""

    alias = models.ForeignKey(
        "aliases.Alias",
        models.CASCADE,
        related_name="sender_domains",
        db_index=False,  # sender_domain_once begins with it
        verbose_name=_("alias"),
    )
    # A registrable domain, in A-labels.
    domain = models.CharField(_("domain"), max_length=DOMAIN_MAX_OCTETS)
    # Whether the mail server in front had verified the domain in the first message.
    is_proven = models.BooleanField(_("verified"), default=False)
    first_at = models.DateTimeField(_("first mail"), default=timezone.now)
    answer = models.CharField(_("answer"), max_length=10, choices=SenderAnswer, blank=True, default="")
    # When the owner got a mail about it.
    told_at = models.DateTimeField(null=True, editable=False)

    objects = SenderDomainQuerySet.as_manager()

    class Meta:
        verbose_name = _("sender")
        verbose_name_plural = _("senders")
        constraints = [models.UniqueConstraint(fields=["alias", "domain"], name="sender_domain_once")]
        indexes = [
            models.Index(fields=["alias"], name="sender_domain_unanswered", condition=Q(answer="")),
            models.Index(
                fields=["alias"], name="sender_domain_blocked", condition=Q(answer=SenderAnswer.BLOCK)
            ),
        ]

    def __str__(self) -> str:
        """The domain as a person reads it; with its A-labels where they differ, because letters of two
        scripts may look the same."""
        name = domain_to_unicode(self.domain)
        return name if name == self.domain else f"{name} ({self.domain})"
