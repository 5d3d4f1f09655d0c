"""A person's rules for mail to their aliases. What a rule does is decided in rules.judging."""

from collections.abc import Sequence
from functools import cached_property

from allauth.account.models import EmailAddress
from django.db import models
from django.db.models import Exists, F, OuterRef
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from rules.conditions import Condition

RULES_MAX = 50  # of one person
# Values that are patterns, of all of a person's rules: each may take 10 ms of each message (core.matching).
PATTERNS_MAX = 20
# As addy.io's.
NAME_MAX = 50
DESTINATIONS_MAX = 10  # of one rule, and of one message
SUBJECT_MAX = 100
# Stands for the message's own subject in the one that a rule gives it.
OWN_SUBJECT = "{{subject}}"


class RuleQuerySet(models.QuerySet["Rule"]):
    def owned_by(self, user: User) -> "RuleQuerySet":
        return self.filter(owner=user)

    def in_order(self) -> "RuleQuerySet":
        """As they are looked at, each with its destinations, in two statements."""
        links = RuleDestination.objects.select_related("address").order_by("pk")
        prefetched = models.Prefetch("links", links)
        return self.order_by("place", "pk").prefetch_related(prefetched)

    def for_aliases(self, alias_ids: Sequence[int]) -> "RuleQuerySet":
        """Those that are on, of the owners of these aliases, once for each of these: with `for_alias`, its
        `alias_address` and `alias_note`."""
        return self.filter(is_on=True, owner__aliases__in=alias_ids).annotate(
            for_alias=F("owner__aliases"),
            alias_address=F("owner__aliases__address"),
            alias_note=F("owner__aliases__note"),
        )


def has_rules(owner: str) -> Exists:
    """An expression for whether the person in this column has rules that are on."""
    return Exists(Rule.objects.filter(owner=OuterRef(owner), is_on=True))


class Rule(models.Model):
    """If the conditions are true of a message to one of the owner's aliases, then what it says is done."""

    owner = models.ForeignKey(
        User, models.CASCADE, related_name="rules", verbose_name=_("owner"), editable=False
    )
    # What only its owner reads.
    name = models.CharField(_("name"), max_length=NAME_MAX)
    place = models.PositiveIntegerField(default=0, editable=False)
    is_on = models.BooleanField(_("on"), default=True)
    needs_all = models.BooleanField(_("needs all conditions"), default=True)
    # Condition.as_json of each.
    conditions = models.JSONField(default=list)
    blocks = models.BooleanField(_("blocks"), default=False)
    disables = models.BooleanField(_("disables the alias"), default=False)
    # To its `links` instead of the alias's destinations.
    forwards = models.BooleanField(_("forwards"), default=False)
    # The message's new one, in which OWN_SUBJECT stands for its own; "" leaves it.
    subject = models.CharField(_("subject"), max_length=SUBJECT_MAX, blank=True, default="")
    stops = models.BooleanField(_("is the last one"), default=False)
    # Messages to which it was applied.
    applied = models.PositiveBigIntegerField(_("applied"), default=0, editable=False)
    applied_at = models.DateTimeField(_("last applied"), null=True, editable=False)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    changed = models.DateTimeField(_("changed"), default=timezone.now, editable=False)

    objects = RuleQuerySet.as_manager()

    class Meta:
        verbose_name = _("rule")
        verbose_name_plural = _("rules")

    def __str__(self) -> str:
        # Its name is nobody else's to read.
        return str(self.pk)

    @cached_property
    def condition_list(self) -> list[Condition]:
        return [Condition.kept(each) for each in self.conditions]

    @property
    def destinations(self) -> list[EmailAddress]:
        """The addresses to which it forwards that are still there, and verified."""
        addresses = (link.address for link in self.links.all())
        return [address for address in addresses if address is not None and address.verified]

    @property
    def lacks_destination(self) -> bool:
        """Whether an address to which it forwards is gone: it is skipped then."""
        return self.forwards and (not self.links.all() or len(self.destinations) < len(self.links.all()))

    @property
    def patterns(self) -> int:
        return sum(condition.patterns for condition in self.condition_list)

    @property
    def deeds(self) -> list[str]:
        """What it does, in words."""
        found = []
        if self.blocks:
            found.append(gettext("block the message"))
        if self.forwards:
            addresses = ", ".join(address.email for address in self.destinations) or "–"
            found.append(gettext("forward it to %(addresses)s") % {"addresses": addresses})
        if self.subject:
            found.append(gettext("give it the subject “%(subject)s”") % {"subject": self.subject})
        if self.disables:
            found.append(gettext("disable the alias"))
        if self.stops:
            found.append(gettext("look at no further rules"))
        return found

    def switch(self, *, on: bool) -> None:
        """Use it from the next message on, or not any more."""
        self.is_on, self.changed = on, timezone.now()
        # Nothing, if it was deleted meanwhile.
        Rule.objects.filter(pk=self.pk).update(is_on=on, changed=self.changed)


class RuleDestination(models.Model):
    """An address of the owner's to which a rule forwards; None once that was removed."""

    # Its index is that of the constraint.
    rule = models.ForeignKey(Rule, models.CASCADE, related_name="links", db_index=False)
    address = models.ForeignKey(EmailAddress, models.SET_NULL, null=True, related_name="rule_links")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "address"], name="rule_destination_once"),
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} → {self.address_id}"
