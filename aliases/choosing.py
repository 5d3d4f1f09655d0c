"""The domain on which an alias is made, and how its owner likes new ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import models
from django.db.models import BooleanField, ExpressionWrapper, OuterRef, Subquery, Value
from django.db.models.functions import Coalesce, StrIndex, Substr
from django.utils.translation import gettext

from accounts.models import User
from aliases import exceptions as refusals
from aliases.models import AliasPreferences
from core.addresses import AddressError, domain_to_ascii
from core.db.compiled import CompiledQuery
from core.db.instances import maker_of
from core.db.json import JsonArray
from domains.models import ASKER_FIELDS, Domain, DomainQuerySet, asker, may_create

# What is asked of a domain, in the model's order.
_FIELDS = ("id", "name", "is_shared", "minimum_style", "alias_quota", "gives_suffixes")


def _domains() -> DomainQuerySet:
    return Domain.objects.enabled().only(*_FIELDS)


def _named(name: Any, **user: Any) -> models.QuerySet[Domain]:
    """The domain of this name, and whether the user may create there."""
    is_usable = ExpressionWrapper(may_create(**user), BooleanField())
    return _domains().annotate(is_usable=is_usable).filter(name=name).order_by()


def best_domain_of(user: str = "") -> Coalesce:
    """For a query of users, or of rows with a user in the field `user`: where the user creates, as the JSON
    that `note_best_domain` takes. The default domain, else the one of the own address, else the first."""

    def of_user(field: str) -> Any:
        return OuterRef(f"{user}__{field}" if user else field)

    own_domain = Substr(of_user("email"), StrIndex(of_user("email"), Value("@")) + 1)
    usable = Domain.objects.usable_by_outer(user).only(*_FIELDS).order_by()

    def first(domains: DomainQuerySet) -> Subquery:
        return Subquery(domains.values_list(JsonArray(*_FIELDS))[:1])

    return Coalesce(
        first(usable.filter(pk=of_user("alias_preferences__default_domain"))),
        first(usable.filter(name=own_domain)),
        first(usable.order_by("name")),
    )


def note_best_domain(user: User, values: list[Any] | None) -> None:
    """Let `choose` take this domain for this instance of the user, so that it need not ask."""
    user.best_domain = _domain_from(values)  # type: ignore[attr-defined]


def _domain_from(values: list[Any] | None) -> Domain | None:
    return _make_domain()(values) if values else None


@cache
def _make_domain() -> Callable[[Sequence[Any]], Domain]:
    return maker_of(Domain, _FIELDS)


def _best(user_id: Any) -> models.QuerySet[Any, Any]:
    return User.objects.filter(pk=user_id).order_by().values_list(best_domain_of())


_BEST = CompiledQuery(_best, user_id=models.BigIntegerField())
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
    """The domain on which `user` creates, in one statement or none, with the user's preferences.

    The one asked for; else the default one, if it is usable; else the one of the user's own address;
    else the first by name. Raises DomainNotFound, DomainForbidden, NoUsableDomain.
    """
    preferences = getattr(user, "alias_preferences", None) or _NONE
    if asked is not None:
        return Choice(_asked(user, asked), preferences)
    if hasattr(user, "best_domain"):
        best = user.best_domain
    else:
        # No row if the account was deleted in this moment.
        found = _BEST(user_id=user.pk)
        best = _domain_from(found[0][0]) if found else None
    if best:
        return Choice(best, preferences)
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
