"""How a user likes new aliases, and the domain on which one is made."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import models
from django.db.models import BooleanField, Case, ExpressionWrapper, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.addresses import AddressError, domain_to_ascii
from accounts.models import User
from aliases import refusals
from aliases.expiry import ExpiryRules
from core.prepared import Prepared, column_names, instance_of
from domains.models import Access, AliasStyle, Domain, access_of, everywhere, nowhere, where_admitted


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


_DOMAIN_COLUMNS = column_names(Domain)


def _choice(allowed: Access, user_id: Any, own_domain: Any, asked: Any = None) -> models.QuerySet[Any, Any]:
    """The domain to create on: its columns, the user's style, and whether the user may.

    `allowed` is the access rule for the user's kind. Without `asked` the best one of those allowed.
    """
    preferences = AliasPreferences.objects.filter(user_id=user_id)
    domains = Domain.objects.enabled().annotate(
        owner_style=Coalesce(Subquery(preferences.values("style")), Value(AliasStyle.WORDS)),
        owner_idle_days=Subquery(preferences.values("idle_days")),
        owner_unused_days=Subquery(preferences.values("unused_days")),
        is_usable=ExpressionWrapper(allowed(user_id, own_domain), BooleanField()),
    )
    if asked is not None:
        domains = domains.filter(name=asked)
    else:
        rank = Case(
            When(pk__in=preferences.values("default_domain"), then=Value(0)),
            When(name=own_domain, then=Value(1)),
            default=Value(2),
        )
        domains = domains.filter(is_usable=True).order_by(rank, "name")
    return domains.values_list(
        *_DOMAIN_COLUMNS, "owner_style", "owner_idle_days", "owner_unused_days", "is_usable"
    )[:1]


_USER: dict[str, models.Field[Any, Any]] = {
    "user_id": models.BigIntegerField(),
    "own_domain": models.CharField(),
}
_ASKED = {**_USER, "asked": models.CharField()}


# By the rule that holds for the user, and whether a domain was asked for.
_CHOICES: dict[tuple[Access, bool], Prepared] = {
    (access, is_asked): Prepared(partial(_choice, access), **(_ASKED if is_asked else _USER))
    for access in (nowhere, everywhere, where_admitted)
    for is_asked in (False, True)
}


@dataclass(frozen=True)
class Choice:
    """The domain on which a user creates, and how the user likes new aliases."""

    domain: Domain
    style: str
    idle_days: int | None
    unused_days: int | None


def choose_domain(user: User, asked: str | None = None) -> tuple[Domain, str]:
    """The domain on which `user` creates, and the style that `user` prefers. Raises as `choose` does."""
    choice = choose(user, asked)
    return choice.domain, choice.style


def choose(user: User, asked: str | None = None) -> Choice:
    """The domain on which `user` creates, with the user's preferences, in one statement.

    The one asked for; else the default one, if it is usable; else the one of the user's own address;
    else the first by name. Raises DomainNotFound, DomainForbidden, NoUsableDomain.
    """
    values: dict[str, Any] = {"user_id": user.pk, "own_domain": user.email_domain}
    if asked is not None:
        try:
            values["asked"] = domain_to_ascii(asked)
        except AddressError as error:
            raise refusals.DomainNotFound(gettext("There is no such domain with Anonmail on.")) from error
    rows = _CHOICES[access_of(user), asked is not None](**values)
    if asked is not None:
        if not rows:
            raise refusals.DomainNotFound(gettext("There is no such domain with Anonmail on."))
        if not rows[0][-1]:
            raise refusals.DomainForbidden(
                gettext("You have no access to this domain. Ask its manager for it.")
            )
    elif not rows:
        raise refusals.NoUsableDomain(
            gettext("There is no domain on which you may create aliases. Ask an admin for access to one.")
        )
    *columns, style, idle_days, unused_days, _is_usable = rows[0]
    return Choice(instance_of(Domain, _DOMAIN_COLUMNS, columns), style, idle_days, unused_days)
