"""Who calls the API: `<e-mail>:<token>`, or the bare token, in `Authentication` or as a Bearer token."""

import re
from collections.abc import Mapping
from urllib.parse import unquote

from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.models import User
from core.client_address import client_network
from tokens.credentials import KEY_SHAPE, Credentials, count_wrong_key, find_token
from tokens.models import Token

# One sentence for every reason: it must not reveal which part was wrong.
WRONG_CREDENTIALS = _(
    "Wrong or missing API key. Enter it as <e-mail>:<token>, as the page Authentication tokens shows it."
)
TOO_MANY_WRONG_KEYS = _("Too many wrong API keys. Correct the key and try again later.")

_CREDENTIALS = re.compile(r"(?:(?P<email>[^\s]{1,400}):)?(?P<secret>" + KEY_SHAPE + ")")
# Longer than any e-mail address and token, percent-encoded throughout.
_HEADER_MAX = 2000


def parse_credentials(text: str) -> Credentials | None:
    """The credentials in a header's value, percent-encoded or not, or None."""
    text = text.strip()
    if len(text) > _HEADER_MAX:
        return None
    match = _CREDENTIALS.fullmatch(text) or _CREDENTIALS.fullmatch(unquote(text).strip())
    return Credentials(match["email"] or "", match["secret"]) if match else None


def header_value(headers: Mapping[str, str]) -> str:
    """What the client sent as its key: the `Authentication` header, else a Bearer token (RFC 6750 §2.1)."""
    own = _text_of(headers.get("HTTP_AUTHENTICATION", "")).strip()
    scheme, _space, value = (own or _text_of(headers.get("HTTP_AUTHORIZATION", "")).strip()).partition(" ")
    return value.strip() if scheme.lower() == "bearer" else own


def _text_of(header: str) -> str:
    """A header's text: WSGI hands out its octets as Latin-1 (PEP 3333), and most clients mean UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


class TokenAuthentication(BaseAuthentication):
    """Authenticates an API request by its token, in one statement, which also reads the domain on which the
    owner creates if the view `chooses_domain`. Sessions do nothing here.

    A request without a key stays unauthenticated (the permission answers 401). Raises
    AuthenticationFailed for any wrong key, with one sentence; RateLimited if there were too many wrong
    keys from this client or for this account. A valid key is never refused because of others.
    """

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        # Found at once there, and by REST framework's request after it has failed to find it itself.
        headers = request._request.META
        value = header_value(headers)
        if not value:
            return None
        credentials = parse_credentials(value)
        chooses = getattr(request.parser_context["view"], "chooses_domain", False)
        token = find_token(credentials, with_domain=chooses) if credentials else None
        if token is None or not token.accepts(headers.get("REMOTE_ADDR", "")):
            claimed = credentials.email if credentials else ""
            count_wrong_key(client_network(request._request), claimed, TOO_MANY_WRONG_KEYS)
            raise AuthenticationFailed(WRONG_CREDENTIALS)
        token.note_use()
        return token.owner, token

    def authenticate_header(self, request: Request) -> str:
        """The challenge that makes the answer a 401 (RFC 9110 §11.6.1)."""
        return "Bearer"
