"""The domain on which an alias is made, and how its owner likes new ones."""

from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models import BooleanField, Case, ExpressionWrapper, Value, When
from django.utils.translation import gettext

from accounts.models import User
from aliases import exceptions as refusals
from aliases.models import AliasPreferences
from core.addresses import AddressError, domain_to_ascii
from core.db.compiled import CompiledQuery
from domains.models import ASKER_FIELDS, Domain, DomainQuerySet, asker, may_create


def _domains() -> DomainQuerySet:
    return Domain.objects.enabled().only("name", "is_shared", "minimum_style", "alias_quota")


def _best(default_domain: Any, own_domain: Any, **user: Any) -> models.QuerySet[Domain]:
    """Where the user may create: the default domain, else the one of the own address, else the first."""
    rank = Case(
        When(pk=default_domain, then=Value(0)), When(name=own_domain, then=Value(1)), default=Value(2)
    )
    return _domains().filter(may_create(own_domain=own_domain, **user)).order_by(rank, "name")[:1]


def _named(name: Any, **user: Any) -> models.QuerySet[Domain]:
    """The domain of this name, and whether the user may create there."""
    is_usable = ExpressionWrapper(may_create(**user), BooleanField())
    return _domains().annotate(is_usable=is_usable).filter(name=name).order_by()


_BEST = CompiledQuery(_best, **ASKER_FIELDS, default_domain=models.BigIntegerField())
_NAMED = CompiledQuery(_named, **ASKER_FIELDS, name=models.CharField())


# Of a user who has not set any.
_NONE = AliasPreferences()


@dataclass(frozen=True)
class Choice:
    """The domain on which a user creates, and how the user likes new aliases."""

    domain: Domain
    preferences: AliasPreferences


def preferences_of(user: User) -> AliasPreferences:
    """How the user likes new aliases, in one statement if the user was read without."""
    return getattr(user, "alias_preferences", None) or AliasPreferences(user=user)


def choose_domain(user: User, asked: str | None = None) -> tuple[Domain, str]:
    """The domain on which `user` creates, and the style that `user` prefers. Raises as `choose` does."""
    choice = choose(user, asked)
    return choice.domain, choice.preferences.style


def choose(user: User, asked: str | None = None) -> Choice:
    """The domain on which `user` creates, in one statement, with the user's preferences.

    The one asked for; else the default one, if it is usable; else the one of the user's own address;
    else the first by name. Raises DomainNotFound, DomainForbidden, NoUsableDomain.
    """
    preferences = getattr(user, "alias_preferences", None) or _NONE
    if asked is not None:
        return Choice(_asked(user, asked), preferences)
    for domain in _BEST(**asker(user), default_domain=preferences.default_domain_id):
        return Choice(domain, preferences)
    raise refusals.NoUsableDomain(
        gettext("There is no domain on which you may create aliases. Ask an admin for access to one.")
    )


def _asked(user: User, name: str) -> Domain:
    try:
        found = _NAMED(**asker(user), name=domain_to_ascii(name))
    except AddressError:
        found = []
    if not found:
        raise refusals.DomainNotFound(gettext("There is no such domain with Anonmail on."))
    domain: Domain = found[0]
    if not found[0].is_usable:
        raise refusals.DomainForbidden(gettext("You have no access to this domain. Ask its manager for it."))
    return domain
