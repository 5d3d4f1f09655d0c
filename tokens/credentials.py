"""Whose token a client presents, and how often it may present a wrong one: for the API and mail programs."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db.models import CharField, Exists, OuterRef, QuerySet
from django.utils.functional import Promise

from aliases.choosing import best_domain_of, note_best_domain
from core.addresses import address_or_none
from core.db.compiled import CompiledQuery
from core.ratelimit import Limit, count_or_refuse, refuse_used_up
from tokens.models import Token, digest_of

KEY_SHAPE = "[A-Za-z0-9]{40,60}"


@dataclass(frozen=True)
class Credentials:
    """What a client claims: perhaps an account's address, and a token's secret. Only the shape is checked."""

    email: str
    secret: str


def _forms(email: str) -> set[str]:
    """The addresses that the e-mail part may mean: as written, or percent-decoded."""
    return {form for text in {email, unquote(email)} if (form := address_or_none(text))}


def _by_secret(digest: Any) -> QuerySet[Token]:
    return Token.objects.filter(digest=digest).select_related("owner__alias_preferences").order_by()


def _by_secret_and_address(digest: Any, first: Any, second: Any) -> QuerySet[Token]:
    own = EmailAddress.objects.filter(user=OuterRef("owner"), verified=True, email__in=[first, second])
    return _by_secret(digest).filter(Exists(own))


_TOKEN = ("created", "last_used", "scopes", "by_password", "expires", "networks")
_OWNER = ("email", "is_active", "is_superuser", "credentials_valid_from", "password_changed")
_PREFERENCES = ("style", "idle_days", "unused_days", "hides_replies")
_NEEDED_TO_CREATE = (
    *_TOKEN,
    *(f"owner__{name}" for name in _OWNER),
    *(f"owner__alias_preferences__{name}" for name in _PREFERENCES),
)


def _with_domain(build: Callable[..., QuerySet[Token]]) -> Callable[..., QuerySet[Token]]:
    return lambda **values: (
        build(**values).only(*_NEEDED_TO_CREATE).annotate(best_domain=best_domain_of("owner"))
    )


_FOR_SECRET, _FOR_SECRET_WITH_DOMAIN = (
    CompiledQuery(build, digest=CharField()) for build in (_by_secret, _with_domain(_by_secret))
)
_FOR_ADDRESS, _FOR_ADDRESS_WITH_DOMAIN = (
    CompiledQuery(build, digest=CharField(), first=CharField(), second=CharField())
    for build in (_by_secret_and_address, _with_domain(_by_secret_and_address))
)


def find_token(credentials: Credentials, *, with_domain: bool = False) -> Token | None:
    """The token with this secret, if the address is a verified one of its owner's or is left out.

    One statement, which also reads the domain on which the owner creates if it is `with_domain`.
    """
    digest = digest_of(credentials.secret)
    if credentials.email:
        # One form or two; "" matches no address.
        first, second, *_rest = [*_forms(credentials.email), "", ""]
        find = _FOR_ADDRESS_WITH_DOMAIN if with_domain else _FOR_ADDRESS
        rows = find(digest=digest, first=first, second=second)
    else:
        rows = (_FOR_SECRET_WITH_DOMAIN if with_domain else _FOR_SECRET)(digest=digest)
    token: Token | None = rows[0] if rows else None
    if token and with_domain:
        note_best_domain(token.owner, rows[0].best_domain)
    return token


def _account(claimed: str) -> str:
    """The account that was claimed, in one form, for counting."""
    decoded = unquote(claimed)
    return address_or_none(decoded) or decoded.lower()


def count_wrong_key(client: str, claimed: str, refusal: str | Promise = "") -> None:
    """Count a wrong key from the client (core.client_address.network_of) for the account that it claims.

    Raises RateLimited, with this sentence, if there were too many. A valid key is never refused because of
    others: only wrong ones are counted.
    """
    hour = timedelta(hours=1)
    of_client = Limit("auth-address", settings.AUTH_FAILURES_PER_ADDRESS_PER_HOUR, hour, refusal=refusal)
    of_account = Limit("auth-account", settings.AUTH_FAILURES_PER_ACCOUNT_PER_HOUR, hour, refusal=refusal)
    # Each claimed account is a row: a client over its own limit must not add more of them.
    refuse_used_up(of_client, client)
    count_or_refuse((of_client, client), *([(of_account, _account(claimed))] if claimed else []))
