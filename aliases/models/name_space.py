"""Names that become one person's aliases when the first mail to them comes."""

from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from django.db import models
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.matching import pattern, pattern_of_glob
from domains.models import AliasStyle, Domain

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager

SUFFIX_MAX_CHARACTERS = 30
KEY_WORD_MAX_CHARACTERS = 30
NOTE_MAX_CHARACTERS = 200  # of a domain's description at addy.io
PER_DAY = 10
# Of every name: the rule with this one says where mail goes that none before it fits.
EVERY = "*"


class NameSpaceQuerySet(models.QuerySet["NameSpace"]):
    def owned_by(self, user: User) -> "NameSpaceQuerySet":
        return self.filter(owner=user)

    def making(self) -> "NameSpaceQuerySet":
        """Those in which mail makes aliases: allowed, and switched on by their owners."""
        return self.allowed().filter(enabled=True)

    def allowed(self) -> "NameSpaceQuerySet":
        """Those in which mail may make aliases: at a domain fit for it, on which the owner may create.

        Others are paused: once that has changed, they are as they were.
        """
        return self.filter(_is_allowed())

    def noting_pauses(self) -> "NameSpaceQuerySet":
        """The same ones, and of each, whether it `is_paused`: not `allowed`."""
        return self.annotate(is_paused=ExpressionWrapper(~Q(_is_allowed()), BooleanField()))

    def of_whole_domains(self) -> "NameSpaceQuerySet":
        return self.filter(suffix="")

    def with_suffix(self) -> "NameSpaceQuerySet":
        return self.exclude(suffix="")


def _is_allowed() -> Exists:
    return Exists(
        Domain.objects.usable_by_outer("owner").filter(
            pk=OuterRef("domain"),
            # There, an unknown name may be a mailbox's; or a name has to be hard to guess.
            is_shared=False,
            minimum_style=AliasStyle.WORDS,
        )
    )


class NameSpace(models.Model):
    """The names of a domain, or those that end with a dot and a suffix, given to one person.

    `aliases.spaces` gives and changes them, `aliases.by_mail` makes their aliases.
    """

    # Its index is that of the constraint.
    domain = models.ForeignKey(
        Domain, models.CASCADE, related_name="name_spaces", verbose_name=_("domain"), db_index=False
    )
    owner = models.ForeignKey(User, models.CASCADE, related_name="name_spaces", verbose_name=_("owner"))
    suffix = models.CharField(
        _("suffix"),
        max_length=SUFFIX_MAX_CHARACTERS,
        blank=True,
        default="",
        help_text=_("As “alice”: names like shop.alice. Empty: all names of the domain."),
    )
    # Off until the owner wants it: it costs spam.
    enabled = models.BooleanField(_("on"), default=False)
    # What the last part of a name, before the suffix, has to be.
    key_word = models.CharField(_("key word"), max_length=KEY_WORD_MAX_CHARACTERS, blank=True, default="")
    # Globs, one a line; or one regular expression. Empty: any name.
    names = models.TextField(_("names"), blank=True, default="")
    is_expression = models.BooleanField(default=False)
    per_day = models.PositiveIntegerField(_("new aliases a day"), default=PER_DAY)
    note = models.CharField(_("note"), max_length=NOTE_MAX_CHARACTERS, blank=True, default="", db_default="")
    created = models.DateTimeField(_("given"), default=timezone.now, editable=False)

    objects = NameSpaceQuerySet.as_manager()

    if TYPE_CHECKING:
        rules: RelatedManager["NameRule"]

    class Meta:
        verbose_name = _("name space")
        verbose_name_plural = _("name spaces")
        ordering = ["domain", "suffix"]
        constraints = [
            models.UniqueConstraint(fields=["domain", "suffix"], name="name_space_unique"),
            models.CheckConstraint(condition=Q(suffix=Lower("suffix")), name="name_space_lower_case"),
        ]

    def __str__(self) -> str:
        return f"{self.form('*')}@{self.domain}"

    def form(self, name: str, *, with_key_word: bool = False) -> str:
        """The local part in which this name stands."""
        return ".".join(filter(None, (name, self.key_word if with_key_word else "", self.suffix)))

    @property
    def example(self) -> str:
        """An address that would become an alias, if the patterns admit its name."""
        return f"{self.form('shop', with_key_word=True)}@{self.domain}"

    @property
    def ending(self) -> str:
        """What all addresses of it end with."""
        return f".{self.suffix}@{self.domain.name}" if self.suffix else f"@{self.domain.name}"

    @property
    def expression(self) -> str:
        """The names that become aliases, as one regular expression; "" for every name."""
        if self.is_expression:
            return self.names
        return "|".join(map(_expression_of, self.names.split()))

    @property
    def default_destination(self) -> EmailAddress | None:
        """Where mail to a new alias goes that no rule before fits; None: to the owner's primary address."""
        return next((rule.address for rule in self.rows if rule.glob == EVERY), None)

    @cached_property
    def rows(self) -> list["NameRule"]:
        """Its rules, the first one first."""
        return list(self.rules.select_related("address"))

    @property
    def skipped(self) -> list["NameRule"]:
        """Its rules that lead to an address that is not verified: mail goes on as if they were not there."""
        return [rule for rule in self.rows if not rule.address.verified]

    def name_in(self, local_part: str) -> str:
        """The name that stands in this local part; "" if it is none of this name space, lacks the key word,
        or is not among the owner's names."""
        name = local_part
        for end in filter(None, (self.suffix, self.key_word)):
            if not name.endswith(f".{end}"):
                return ""
            name = name.removesuffix(f".{end}")
        return name if self._admits(name) else ""

    def _admits(self, name: str) -> bool:
        if not self.names:
            return True
        if self.is_expression:
            return pattern(self.names).is_all_of(name)
        return any(is_like(name, glob) for glob in self.names.split())

    def destinations_for(self, name: str) -> list[str] | None:
        """Where mail to a new alias of this name goes; None: to the owner's primary address."""
        usable = (rule for rule in self.rows if rule.address.verified and is_like(name, rule.glob))
        return next(([rule.address.email] for rule in usable), None)


class NameRule(models.Model):
    """Where mail to new aliases goes whose name is like this; the first one that fits counts."""

    # Its index is that of the constraint.
    space = models.ForeignKey(NameSpace, models.CASCADE, related_name="rules", db_index=False)
    glob = models.CharField(_("names"), max_length=64)
    address = models.ForeignKey(EmailAddress, models.CASCADE, related_name="+", verbose_name=_("destination"))

    class Meta:
        verbose_name = _("name rule")
        verbose_name_plural = _("name rules")
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["space", "glob"], name="name_rule_unique")]

    def __str__(self) -> str:
        return f"{self.space_id}: {self.glob}"


def owner_by_suffix(domain: Domain, local_part: str) -> int | None:
    """The key of whoever has this name by a suffix; None without a statement where nobody can."""
    suffix = suffix_of(local_part)
    if not suffix or not domain.gives_suffixes:
        return None
    spaces = NameSpace.objects.filter(domain=domain, suffix=suffix)
    return spaces.values_list("owner", flat=True).first()


def suffix_of(local_part: str) -> str:
    """The last part of a name of several; "" if it has only one."""
    return local_part.rpartition(".")[2] if "." in local_part else ""


def _expression_of(glob: str) -> str:
    """The regular expression for a glob, of which none of the other characters means anything in one."""
    return glob.replace(".", r"\.").replace("*", ".*").replace("?", ".")


def is_like(name: str, glob: str) -> bool:
    """Whether the whole name is what the glob describes: `*` is any text, `?` any character."""
    return pattern(pattern_of_glob(glob)).is_all_of(name)
