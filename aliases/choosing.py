"""The domain on which an alias is made, and how its owner likes new ones."""

from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models import BooleanField, Case, ExpressionWrapper, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.utils.translation import gettext

from accounts.models import User
from aliases import exceptions as refusals
from aliases.models import AliasPreferences
from core.addresses import AddressError, domain_to_ascii
from core.db.compiled import CompiledQuery
from domains.models import ASKER_FIELDS, AliasStyle, Domain, asker, may_create


def _choice(
    user_id: Any, own_domain: Any, is_admin: Any, is_active: Any, asked: Any = None
) -> models.QuerySet[Domain]:
    """The domain to create on, with what its user prefers, and whether the user may create there.

    Without `asked` the best one of those where the user may.
    """
    preferences = AliasPreferences.objects.filter(user_id=user_id)
    allowed = may_create(user_id=user_id, own_domain=own_domain, is_admin=is_admin, is_active=is_active)
    domains = Domain.objects.enabled().annotate(
        owner_style=Coalesce(Subquery(preferences.values("style")), Value(AliasStyle.WORDS)),
        owner_idle_days=Subquery(preferences.values("idle_days")),
        owner_unused_days=Subquery(preferences.values("unused_days")),
    )
    if asked is not None:
        domains = domains.annotate(is_usable=ExpressionWrapper(allowed, BooleanField())).filter(name=asked)
    else:
        rank = Case(
            When(pk__in=preferences.values("default_domain"), then=Value(0)),
            When(name=own_domain, then=Value(1)),
            default=Value(2),
        )
        domains = domains.filter(allowed).order_by(rank, "name")
    return domains[:1]


_BEST = CompiledQuery(_choice, **ASKER_FIELDS)
_ASKED = CompiledQuery(_choice, **ASKER_FIELDS, asked=models.CharField())


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
    domain: Any = _asked(user, asked) if asked is not None else _best(user)
    return Choice(domain, domain.owner_style, domain.owner_idle_days, domain.owner_unused_days)


def _asked(user: User, name: str) -> Domain:
    try:
        found = _ASKED(**asker(user), asked=domain_to_ascii(name))
    except AddressError:
        found = []
    if not found:
        raise refusals.DomainNotFound(gettext("There is no such domain with Anonmail on."))
    domain: Domain = found[0]
    if not found[0].is_usable:
        raise refusals.DomainForbidden(gettext("You have no access to this domain. Ask its manager for it."))
    return domain


def _best(user: User) -> Domain:
    for domain in _BEST(**asker(user)):
        found: Domain = domain
        return found
    raise refusals.NoUsableDomain(
        gettext("There is no domain on which you may create aliases. Ask an admin for access to one.")
    )
