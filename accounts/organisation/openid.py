"""OpenID Connect: the way to a provider and back, and what the provider then says (Core 1.0, code flow).

Authlib speaks to the provider and checks the ID token's claims, joserfc its signature. What is asked for here
beyond that: a signature even if the token came straight from the provider, an answer of the issuer that was
asked (RFC 9207), and answers that are not huge.
"""

import logging
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from accounts.organisation.person import Person, as_domains, as_list, as_name, as_subject
from accounts.organisation.refusals import NotProven, ProviderFailed
from accounts.organisation.sources import OpenIdProvider, is_secure_url
from core.mails import absolute_url

logger = logging.getLogger(__name__)

# Seconds: for which somebody may be away at the provider; for which a silent provider is waited for; and for
# all of one answer.
AWAY_MAX = 600
SILENCE_MAX = 5
ANSWER_MAX = 10
# Octets of one answer.
ANSWER_OCTETS_MAX = 256 * 1024
# Seconds that the provider's clock may be wrong.
LEEWAY = 60
# Seconds for which what a provider says about itself is remembered.
METADATA_AGE_MAX = 600
# Signatures that a provider alone can make. Not among them: none, and the HMACs, for which the key is shared.
ALGORITHMS = "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519".split()  # noqa: SIM905
CODE_MAX = 4096
# Seconds since 1970 that a moment can be: JSON has numbers that are too large for a float.
TIME_MAX = 2**53
# Ways that a browser has begun at the same time.
TRIPS_MAX = 5
SESSION_KEY = "organisation_trips"
CALLBACK = "organisation-back"

# The error codes of RFC 6749 §5.2 and their relatives: `invalid_client` for one is to be seen in the log.
_ERROR_CODE = re.compile("[a-z_]{1,40}")

Metadata = dict[str, Any]

_known: dict[str, tuple[float, Metadata]] = {}


@dataclass(frozen=True)
class Return:
    """Somebody who has come back from a provider.

    `at` is when they signed in there (seconds since 1970), or 0 if the provider does not say.
    """

    person: Person
    purpose: str
    next_url: str
    user_id: int | None
    has_second_factor: bool
    at: float


def forget() -> None:
    """Ask the providers anew what they say about themselves."""
    _known.clear()


def begin(
    request: HttpRequest, provider: OpenIdProvider, *, purpose: str, next_url: str = "", fresh: bool = False
) -> str:
    """The URL at the provider to which the browser goes now. The session remembers the way.

    `fresh`: people must sign in there even if they are signed in. Raises ProviderFailed.
    """
    metadata = _metadata(provider)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    asked = {"nonce": nonce} | ({"prompt": "login", "max_age": 0} if fresh else {})
    with _failing(provider, is_known=False), _session(provider, metadata) as session:
        url, _state = session.create_authorization_url(
            metadata["authorization_endpoint"], state=state, code_verifier=verifier, **asked
        )
    user_id = request.user.pk if request.user.is_authenticated else None
    trip = {"provider": provider.key, "nonce": nonce, "verifier": verifier, "begun": time.time()}
    trip |= {"purpose": purpose, "next": next_url, "user": user_id}
    others = sorted(_trips(request).items(), key=lambda item: item[1]["begun"])[1 - TRIPS_MAX :]
    request.session[SESSION_KEY] = {**dict(others), state: trip}
    return str(url)


def finish(request: HttpRequest, provider: OpenIdProvider) -> Return:
    """Who has come back with this request. It works once. Raises NotProven, ProviderFailed."""
    trips = _trips(request)
    trip = trips.pop(request.GET.get("state", ""), None)
    if trip is None:
        raise _not_proven(provider, "state")
    request.session[SESSION_KEY] = trips
    if trip["provider"] != provider.key or time.time() - trip["begun"] > AWAY_MAX:
        raise _not_proven(provider, "state")
    metadata = _metadata(provider)
    _check_issuer(request, provider, metadata)
    code = request.GET.get("code", "")
    if "error" in request.GET or not code or len(code) > CODE_MAX:
        raise NotProven(gettext("%(source)s did not sign you in.") % {"source": provider.name})
    with _failing(provider), _session(provider, metadata) as session:
        token = session.fetch_token(
            metadata["token_endpoint"],
            grant_type="authorization_code",
            code=code,
            code_verifier=trip["verifier"],
            redirect_uri=callback_url(provider),
        )
        claims = _proven(session, provider, metadata, token, trip["nonce"])
        told = _told(session, provider, metadata, claims)
    factors = as_list(claims.get("amr")) | as_list(claims.get("acr"))
    return Return(
        person=_person(provider, claims, told),
        purpose=trip["purpose"],
        next_url=trip["next"],
        user_id=trip["user"],
        has_second_factor=not factors.isdisjoint(provider.second_factor),
        at=_moment(claims.get("auth_time")),
    )


def _moment(value: Any) -> float:
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < TIME_MAX
    return float(value) if is_one else 0.0


def callback_url(provider: OpenIdProvider) -> str:
    """Where the provider sends the browser: to be registered there. It is each provider's own."""
    return absolute_url(CALLBACK, key=provider.key)


def _trips(request: HttpRequest) -> dict[str, dict[str, Any]]:
    return dict(request.session.get(SESSION_KEY, {}))


def _person(provider: OpenIdProvider, signed: dict[str, Any], told: dict[str, Any]) -> Person:
    """Who that is by the ID token, and what the provider tells besides."""
    claims = {**told, **signed}
    email = claims.get("email")
    # What is said of one address says nothing of another.
    verdicts = [
        said["email_verified"]
        for said in (signed, told)
        if "email_verified" in said and said.get("email") == email
    ]
    return Person(
        source=provider,
        subject=as_subject(claims.get("sub")),
        email=email if isinstance(email, str) else "",
        is_verified=bool(verdicts) and verdicts[0] is True,
        name=as_name(claims.get("name")),
        groups=as_list(claims.get(provider.groups_claim)),
        domains=as_domains(as_list(claims.get(provider.domains_claim)))
        if provider.domains_claim
        else frozenset(),
    )


def _metadata(provider: OpenIdProvider) -> Metadata:
    """What the provider says about itself (Discovery 1.0 §4), checked. Raises ProviderFailed."""
    until, known = _known.get(provider.issuer, (0.0, {}))
    if time.monotonic() < until:
        return known
    with _failing(provider, is_known=False), _session(provider, {}) as session:
        url = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata: Metadata = session.json("GET", url, withhold_token=True)
        if metadata["issuer"] != provider.issuer:
            raise ValueError("issuer")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            _check_url(provider, metadata[name])
        if "userinfo_endpoint" in metadata:
            _check_url(provider, metadata["userinfo_endpoint"])
    _known[provider.issuer] = (time.monotonic() + METADATA_AGE_MAX, metadata)
    return metadata


def _check_url(provider: OpenIdProvider, url: Any) -> None:
    """Raise ValueError unless the URL is as secure as the issuer's."""
    is_as_secure = isinstance(url, str) and is_secure_url(url)
    if not is_as_secure or (provider.issuer.startswith("https:") and not url.startswith("https:")):
        raise ValueError("endpoint")


def _check_issuer(request: HttpRequest, provider: OpenIdProvider, metadata: Metadata) -> None:
    """Raise NotProven if the answer names another issuer than was asked, or none where it must (RFC 9207)."""
    must = metadata.get("authorization_response_iss_parameter_supported") is True
    if ("iss" in request.GET or must) and request.GET.get("iss") != provider.issuer:
        raise _not_proven(provider, "issuer")


def _proven(
    session: "_Session", provider: OpenIdProvider, metadata: Metadata, token: dict[str, Any], nonce: str
) -> dict[str, Any]:
    """The claims of the ID token. Raises JoseError, ValueError."""
    published: Any = session.json("GET", metadata["jwks_uri"], withhold_token=True)
    keys = KeySet.import_key_set(published)
    read = jwt.decode(token["id_token"], key=keys, algorithms=ALGORITHMS)
    options = {
        "iss": {"essential": True, "values": [provider.issuer]},
        "aud": {"essential": True, "values": [provider.client_id]},
        "sub": {"essential": True},
    }
    given = {"nonce": nonce, "client_id": provider.client_id, "access_token": token.get("access_token")}
    claims = CodeIDToken(read.claims, read.header, options, given)
    claims.validate(leeway=LEEWAY)
    # Authlib lets a token say that its issuer knows no nonce.
    if not constant_time_compare(str(claims.get("nonce")), nonce):
        raise ValueError("nonce")
    return dict(claims)


def _told(
    session: "_Session", provider: OpenIdProvider, metadata: Metadata, claims: dict[str, Any]
) -> dict[str, Any]:
    """What the provider tells about the person besides the ID token. Raises ValueError if it is another's."""
    if "userinfo_endpoint" not in metadata:
        return {}
    told: dict[str, Any] = session.json("GET", metadata["userinfo_endpoint"])
    # Core 1.0 §5.3.2: otherwise a token could be swapped for another person's.
    if told.get("sub") != claims["sub"]:
        raise ValueError("userinfo")
    return told


@contextmanager
def _failing(provider: OpenIdProvider, *, is_known: bool = True) -> Iterator[None]:
    """Turn what goes wrong with the provider into a refusal. Its words, and the person's, are not logged.

    `is_known`: it has said what it is, so that an odd answer is about the person.
    """
    try:
        yield
    except OSError as error:
        raise _failed(provider, error) from error
    except AuthlibBaseError as error:
        said = str(error.error)
        raise _not_proven(provider, said if _ERROR_CODE.fullmatch(said) else "error") from error
    except (JoseError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise (
            _not_proven(provider, type(error).__name__) if is_known else _failed(provider, error)
        ) from error


def _failed(provider: OpenIdProvider, error: Exception) -> ProviderFailed:
    logger.error("provider %s: %s", provider.key, type(error).__name__)
    said = gettext("%(source)s cannot be reached, or does not answer as it should. Try again later.")
    return ProviderFailed(said % {"source": provider.name})


def _not_proven(provider: OpenIdProvider, reason: str) -> NotProven:
    logger.warning("provider %s: nothing is proven: %s", provider.key, reason)
    return NotProven(gettext("This sign-in is too old, was used already, or is not valid. Try again."))


class _Session(OAuth2Session):  # type: ignore[misc]
    """A conversation with a provider: no redirects, no long silence, no huge answers."""

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        options |= {"timeout": SILENCE_MAX, "allow_redirects": False, "stream": True}
        deadline = time.monotonic() + ANSWER_MAX
        answer: requests.Response = super().request(method, url, **options)
        body = b""
        for piece in answer.iter_content(16 * 1024):
            body += piece
            if len(body) > ANSWER_OCTETS_MAX or time.monotonic() > deadline:
                answer.close()
                raise requests.RequestException("The answer is too long, or takes too long.")
        answer._content = body
        return answer

    def json(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """The JSON object at a URL. Raises RequestException, ValueError."""
        answer = self.request(method, url, **options)
        if answer.status_code != 200:
            raise requests.RequestException(f"status {answer.status_code}")
        found = answer.json()
        if not isinstance(found, dict):
            raise ValueError("not an object")
        return found


def _session(provider: OpenIdProvider, metadata: Metadata) -> _Session:
    offered = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    method = "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"
    return _Session(
        client_id=provider.client_id,
        client_secret=provider.client_secret or None,
        token_endpoint_auth_method=method if provider.client_secret else "none",
        scope=" ".join(provider.scopes),
        redirect_uri=callback_url(provider),
        code_challenge_method="S256",
    )
