"""Who calls the API: `<e-mail>:<token>`, or the bare token, in `Authentication` or as a Bearer token."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db.models import CharField, Exists, OuterRef, QuerySet
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.models import User
from aliases.choosing import best_domain_of, note_best_domain
from core.addresses import address_or_none
from core.client_address import client_network
from core.db.compiled import CompiledQuery
from core.ratelimit import Limit, count_or_refuse, refuse_used_up
from tokens.models import Token, digest_of

# One sentence for every reason: it must not reveal which part was wrong.
WRONG_CREDENTIALS = _(
    "Wrong or missing API key. Enter it as <e-mail>:<token>, as the page Authentication tokens shows it."
)
TOO_MANY_WRONG_KEYS = _("Too many wrong API keys. Correct the key and try again later.")

_CREDENTIALS = re.compile(r"(?:(?P<email>[^\s]{1,400}):)?(?P<secret>[A-Za-z0-9]{40,60})")
HEADERS = ("HTTP_AUTHENTICATION", "HTTP_AUTHORIZATION")
# Longer than any e-mail address and token, percent-encoded throughout.
_HEADER_MAX = 2000


@dataclass(frozen=True)
class Credentials:
    """What a client claims: perhaps an account's address, and a token's secret. Only the shape is checked."""

    email: str
    secret: str


def parse_credentials(text: str) -> Credentials | None:
    """The credentials in a header's value, percent-encoded or not, or None."""
    text = text.strip()
    if len(text) > _HEADER_MAX:
        return None
    match = _CREDENTIALS.fullmatch(text) or _CREDENTIALS.fullmatch(unquote(text).strip())
    return Credentials(match["email"] or "", match["secret"]) if match else None


def header_value(request: Request) -> str:
    """What the client sent as its key: the `Authentication` header, else a Bearer token (RFC 6750 §2.1)."""
    own, standard = (_text_of(str(request.META.get(name, ""))).strip() for name in HEADERS)
    scheme, _space, value = (own or standard).partition(" ")
    return value.strip() if scheme.lower() == "bearer" else own


def _text_of(header: str) -> str:
    """A header's text: WSGI hands out its octets as Latin-1 (PEP 3333), and most clients mean UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _forms(email: str) -> set[str]:
    """The addresses that the e-mail part may mean: as written, or percent-decoded."""
    return {form for text in (email, unquote(email)) if (form := address_or_none(text))}


def _by_secret(digest: Any) -> QuerySet[Token]:
    return Token.objects.filter(digest=digest).select_related("owner__alias_preferences").order_by()


def _by_secret_and_address(digest: Any, first: Any, second: Any) -> QuerySet[Token]:
    own = EmailAddress.objects.filter(user=OuterRef("owner"), verified=True, email__in=[first, second])
    return _by_secret(digest).filter(Exists(own))


def _with_domain(build: Callable[..., QuerySet[Token]]) -> Callable[..., QuerySet[Token]]:
    return lambda **values: build(**values).annotate(best_domain=best_domain_of("owner"))


_FOR_SECRET, _FOR_SECRET_WITH_DOMAIN = (
    CompiledQuery(build, digest=CharField()) for build in (_by_secret, _with_domain(_by_secret))
)
_FOR_ADDRESS, _FOR_ADDRESS_WITH_DOMAIN = (
    CompiledQuery(build, digest=CharField(), first=CharField(), second=CharField())
    for build in (_by_secret_and_address, _with_domain(_by_secret_and_address))
)


def _account(claimed: str) -> str:
    """The account that was claimed, in one form, for counting."""
    decoded = unquote(claimed)
    return address_or_none(decoded) or decoded.lower()


class TokenAuthentication(BaseAuthentication):
    """Authenticates an API request by its token, in one statement, which also reads the domain on which the
    owner creates if the view `chooses_domain`. Sessions do nothing here.

    A request without a key stays unauthenticated (the permission answers 401). Raises
    AuthenticationFailed for any wrong key, with one sentence; RateLimited if there were too many wrong
    keys from this client or for this account. A valid key is never refused because of others.
    """

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        value = header_value(request)
        if not value:
            return None
        credentials = parse_credentials(value)
        chooses = getattr(request.parser_context["view"], "chooses_domain", False)
        token = self._find(credentials, with_domain=chooses) if credentials else None
        if token is None or not token.accepts(request.META.get("REMOTE_ADDR", "")):
            self._count_failure(request, credentials.email if credentials else "")
            raise AuthenticationFailed(WRONG_CREDENTIALS)
        token.note_use()
        return token.owner, token

    def authenticate_header(self, request: Request) -> str:
        """The challenge that makes the answer a 401 (RFC 9110 §11.6.1)."""
        return "Bearer"

    @staticmethod
    def _find(credentials: Credentials, *, with_domain: bool) -> Token | None:
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

    @staticmethod
    def _count_failure(request: Request, claimed: str) -> None:
        hour = timedelta(hours=1)
        of_client = Limit(
            "auth-address", settings.AUTH_FAILURES_PER_ADDRESS_PER_HOUR, hour, refusal=TOO_MANY_WRONG_KEYS
        )
        of_account = Limit(
            "auth-account", settings.AUTH_FAILURES_PER_ACCOUNT_PER_HOUR, hour, refusal=TOO_MANY_WRONG_KEYS
        )
        client = client_network(request._request)
        # Each claimed account is a row: a client over its own limit must not add more of them.
        refuse_used_up(of_client, client)
        count_or_refuse((of_client, client), *([(of_account, _account(claimed))] if claimed else []))
