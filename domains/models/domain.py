"""Mail domains, who manages them, and who may create aliases on them."""

from functools import partial
from typing import Any

from django.db import models, transaction
from django.db.models import ExpressionWrapper, OuterRef, Q, Value
from django.db.models.functions import Lower, StrIndex, Substr
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.addresses import domain_to_unicode
from core.after_answer import do_after_answer
from core.mails import absolute_url, send_template
from domains.fields import DomainNameField


class Audience(models.TextChoices):
    """Who may create on a domain besides managers, global admins, and people with a grant."""

    OWN = "own", _("its people and those with a grant")
    EVERYONE = "everyone", _("every user")


class AliasStyle(models.TextChoices):
    """How an alias's random part looks, from the weakest to the strongest (docs/aliases.md)."""

    WORDS = "words", _("words")
    CHARACTERS = "characters", _("random characters")
    UUID = "uuid", _("UUID")


class DomainQuerySet(models.QuerySet["Domain"]):
    def enabled(self) -> "DomainQuerySet":
        """Domains with Anonmail on."""
        return self.filter(anonmail_enabled=True)

    def usable_by(self, user: User) -> "DomainQuerySet":
        """Domains on which `user` may create aliases: the access rule, in one query."""
        return self.enabled().filter(may_create(**asker(user)))

    def usable_by_outer(self, user: str = "") -> "DomainQuerySet":
        """For a subquery: domains on which the user may create whom a row of the outer query has in this
        field; "": the rows themselves are users."""

        def of_user(field: str) -> OuterRef:
            return OuterRef(f"{user}__{field}" if user else field)

        is_admin, is_active = (
            ExpressionWrapper(of_user(field), models.BooleanField())
            for field in ("is_superuser", "is_active")
        )
        return self.enabled().filter(
            may_create(
                user_id=OuterRef(of_user("pk")),
                own_domain=Substr(of_user("email"), StrIndex(of_user("email"), Value("@")) + 1),
                is_admin=is_admin,
                is_active=is_active,
            )
        )

    def managed_by(self, user: User) -> "DomainQuerySet":
        """Domains whose access `user` manages: all of them for a global admin."""
        if not user.is_active:
            return self.none()
        return self if user.is_superuser else self.with_manager(user)

    def with_manager(self, user: Any) -> "DomainQuerySet":
        """Domains whose access `user` manages without being a global admin."""
        return self.filter(managers=user)


def may_create(*, user_id: Any, own_domain: Any, is_admin: Any, is_active: Any) -> Q:
    """The access rule: the condition on a domain with Anonmail on under which a user may create there.

    It takes what `asker` says of a user, or an expression for each value, so that a query with the
    rule in it can be compiled once.
    """
    managed = Domain.managers.through.objects.filter(user_id=user_id).values("domain_id")
    granted = AccessGrant.objects.filter(user_id=user_id).values("domain_id")
    return Q(_condition(is_active)) & (
        Q(_condition(is_admin))
        | Q(name=own_domain)
        | Q(audience=Audience.EVERYONE)
        | Q(pk__in=managed)
        | Q(pk__in=granted)
    )


def _condition(value: Any) -> Any:
    return Value(value, models.BooleanField()) if isinstance(value, bool) else value


def asker(user: User) -> dict[str, Any]:
    """What the access rule asks of a user, by the names of `may_create`."""
    return {
        "user_id": user.pk,
        "own_domain": user.email_domain,
        "is_admin": user.is_superuser,
        "is_active": user.is_active,
    }


# The kinds of those values, for a query that is compiled once.
ASKER_FIELDS: dict[str, models.Field[Any, Any]] = {
    "user_id": models.BigIntegerField(),
    "own_domain": models.CharField(),
    "is_admin": models.BooleanField(),
    "is_active": models.BooleanField(),
}


class Domain(models.Model):
    name = DomainNameField(
        _("name"),
        max_length=253,
        unique=True,
        help_text=_("Like example.com. Cannot be changed once the domain has aliases."),
        error_messages={"unique": _("This domain exists already.")},
    )
    anonmail_enabled = models.BooleanField(
        _("Anonymous Email Service"),
        default=False,
        help_text=_("Off: nobody can create aliases here. Existing ones still receive mail."),
    )
    audience = models.CharField(
        _("audience"),
        max_length=10,
        choices=Audience,
        default=Audience.OWN,
        help_text=_(
            "Who may create aliases. “Its people”: users whose own address is in this domain. Managers "
            "and global admins always may. “Every user”: everybody with an account on this server."
        ),
    )
    is_shared = models.BooleanField(
        _("shared with ordinary mailboxes"),
        default=False,
        help_text=_("On: the domain also has ordinary mailboxes."),
    )
    minimum_style = models.CharField(
        _("weakest alias style"),
        max_length=10,
        choices=AliasStyle,
        default=AliasStyle.WORDS,
        help_text=_("Aliases here are at least this hard to guess, whatever their owner prefers."),
    )
    alias_quota = models.PositiveIntegerField(
        _("aliases per user"),
        null=True,
        blank=True,
        help_text=_("How many aliases a user may have here. Empty: no limit."),
    )
    managers = models.ManyToManyField(
        User,
        verbose_name=_("managers"),
        related_name="managed_domains",
        blank=True,
        help_text=_("May grant and revoke access to this domain."),
    )
    # Whether people may have names of their own here that end alike (aliases.spaces): asked where an alias is
    # made, so that nobody else takes one.
    gives_suffixes = models.BooleanField(default=False, db_default=False, editable=False)
    comment = models.TextField(_("comment"), blank=True)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = DomainQuerySet.as_manager()

    class Meta:
        verbose_name = _("domain")
        verbose_name_plural = _("domains")
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=Q(name=Lower("name")), name="domain_name_lower_case")]

    def __str__(self) -> str:
        return self.display_name

    @property
    def display_name(self) -> str:
        """The name as a person reads it, in U-labels."""
        return domain_to_unicode(self.name)

    def set_anonmail(self, enabled: bool) -> None:
        """Turn the Anonymous Email Service on or off: for new aliases, not for delivery."""
        self.anonmail_enabled = enabled
        self.save(update_fields=["anonmail_enabled"])

    @transaction.atomic
    def grant(self, user: User, *, granted_by: User | None = None) -> "AccessGrant":
        """Let `user` create aliases here, and tell them by mail if somebody else grants it.

        A second grant changes nothing and returns the first.
        """
        grant, is_new = AccessGrant.objects.get_or_create(
            domain=self, user=user, defaults={"granted_by": granted_by}
        )
        grant.is_new = is_new
        if is_new and granted_by and granted_by != user:
            context = {"domain": self, "granted_by": granted_by, "url": absolute_url("alias-new")}
            tell = partial(
                send_template, "domains/email/granted", user.email, context, language=user.language
            )
            transaction.on_commit(lambda: do_after_answer(tell))
        return grant

    def revoke(self, user: User) -> bool:
        """Revoke a grant, and return whether there was one. Existing aliases still receive mail."""
        deleted, _rows = AccessGrant.objects.filter(domain=self, user=user).delete()
        return deleted > 0


class AccessGrant(models.Model):
    """Lets a user create aliases on a domain.

    `is_new`: of what `Domain.grant` returned, whether there was none before.
    """

    is_new = False

    # Its index is the one of `access_grant_unique`.
    domain = models.ForeignKey(
        Domain, models.CASCADE, related_name="grants", verbose_name=_("domain"), db_index=False
    )
    user = models.ForeignKey(User, models.CASCADE, related_name="access_grants", verbose_name=_("user"))
    granted_by = models.ForeignKey(
        User,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("granted by"),
    )
    created = models.DateTimeField(_("granted"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("access grant")
        verbose_name_plural = _("access grants")
        constraints = [
            models.UniqueConstraint(
                fields=["domain", "user"],
                name="access_grant_unique",
                violation_error_message=_("This user has access to this domain already."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} – {self.domain}"
