"""Answers of an OpenID Connect provider that are forged, replayed, or were not asked for."""

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.test import Client
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from pytest_django import Settings

from accounts.models import User
from accounts.organisation import openid
from tests.rig.openid.carol import CAROL
from tests.rig.openid.serving import Provider, at_provider, begin, come_back, walk
from tests.rig.pages import text_of
from tests.rig.takeover import is_in

pytestmark = pytest.mark.django_db


KEY = RSAKey.generate_key(2048, {"kid": "k1", "alg": "RS256", "use": "sig"})
Tamper = Callable[..., None]


@pytest.fixture
def tamper(monkeypatch: pytest.MonkeyPatch) -> Tamper:
    """Let `change` alter the JSON of each answer of the provider at a path that ends so, or replace it."""

    def install(end: str, change: Callable[[dict[str, Any]], Any]) -> None:
        original = openid._Session.request

        def request(self: Any, method: str, url: str, **options: Any) -> requests.Response:
            answer = original(self, method, url, **options)
            if urlsplit(url).path.endswith(end):
                changed = change(answer.json())
                answer._content = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
            return answer

        monkeypatch.setattr(openid._Session, "request", request)

    return install


def forge(header: dict[str, Any], key: Any, **changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A change of the token endpoint's answer: its ID token with other claims, signed anew."""

    def change(answer: dict[str, Any]) -> dict[str, Any]:
        claims = json.loads(jwt_part(answer["id_token"], 1)) | changes
        token = jwt.encode(header, claims, key, algorithms=[header["alg"]])
        return answer | {"id_token": token}

    return change


def jwt_part(token: str, number: int) -> bytes:
    from base64 import urlsafe_b64decode

    part = token.split(".")[number]
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def unsigned(answer: dict[str, Any]) -> dict[str, Any]:
    """The token with `alg: none`."""
    from base64 import urlsafe_b64encode

    header = urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return answer | {"id_token": f"{header}.{answer['id_token'].split('.')[1]}."}


SHARED = OctKey.import_key("the-secret-of-a-client-0123456789", {"kid": "k1"})
OURS = {"alg": "RS256", "kid": "k1"}
FORGERIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another key": forge(OURS, KEY),
    "alg none": unsigned,
    "the secret as key": forge({"alg": "HS256", "kid": "k1"}, SHARED),
    "no token": lambda answer: {name: answer[name] for name in answer if name != "id_token"},
    "garbage": lambda answer: answer | {"id_token": "x.y.z"},
    "a list": lambda answer: [answer],
    "an object": lambda answer: answer | {"id_token": {"sub": "carol"}},
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_token_without_the_providers_signature_proves_nothing(
    provider: Provider, client: Client, tamper: Tamper, forgery: str
) -> None:
    tamper("/token", FORGERIES[forgery])

    answer = walk(client, "carol")

    assert answer.status_code == 403
    assert "This sign-in is too old, was used already, or is not valid." in text_of(answer)
    assert not User.objects.exists()


CLAIMS: dict[str, dict[str, Any]] = {
    "expired": {"exp": int(time.time()) - 3600},
    "another audience": {"aud": "other"},
    "several audiences": {"aud": ["acme", "other"]},
    "another party": {"azp": "other"},
    "another issuer": {"iss": "https://evil.test"},
    "another nonce": {"nonce": "x"},
    "no nonce": {"nonce": None},
    "a nonce said to be unknown": {"nonce": None, "nonce_supported": False},
    "from the future": {"iat": int(time.time()) + 36000, "nbf": int(time.time()) + 36000},
    "another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "another person": {"sub": "root"},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_signed_token_must_be_for_this_sign_in(
    provider: Provider, client: Client, tamper: Tamper, name: str
) -> None:
    """The forger has the provider's key here: it is replaced in the key set."""
    changed = CLAIMS[name]
    tamper("/jwks", lambda _keys: {"keys": [KEY.as_dict(private=False)]})
    tamper("/token", forge(OURS, KEY, **changed))

    answer = walk(client, "carol")

    assert answer.status_code == 403
    assert not User.objects.exists()


def test_such_a_token_that_is_right_is_taken(provider: Provider, client: Client, tamper: Tamper) -> None:
    """So what the others are refused for is what was changed in them."""
    tamper("/jwks", lambda _keys: {"keys": [KEY.as_dict(private=False)]})
    tamper("/token", forge(OURS, KEY))

    walk(client, "carol")

    assert is_in(client)


def test_what_is_told_about_another_person_is_not_believed(
    provider: Provider, client: Client, tamper: Tamper
) -> None:
    tamper("/me", lambda told: told | {"sub": "root"})

    assert walk(client, "carol").status_code == 403


def test_that_one_address_is_verified_says_nothing_of_another(
    provider: Provider, client: Client, tamper: Tamper
) -> None:
    """Providers let people write what they want into `email` of the ID token; its check is told elsewhere."""
    tamper("/jwks", lambda _keys: {"keys": [KEY.as_dict(private=False)]})
    tamper("/token", forge(OURS, KEY, email="boss@example.com"))

    answer = walk(client, "carol")

    assert answer.status_code == 403
    assert "does not say that your e-mail address is verified" in text_of(answer)
    assert not User.objects.exists()


@pytest.mark.parametrize(("signed", "is_taken"), [({}, True), ({"email_verified": False}, False)])
def test_of_the_same_address_the_token_has_the_last_word(
    provider: Provider, client: Client, tamper: Tamper, signed: dict[str, Any], is_taken: bool
) -> None:
    tamper("/jwks", lambda _keys: {"keys": [KEY.as_dict(private=False)]})
    tamper("/token", forge(OURS, KEY, email="carol@example.com", **signed))

    walk(client, "carol")

    assert is_in(client) == is_taken


def test_a_moment_that_is_no_time_is_none(provider: Provider, client: Client, tamper: Tamper) -> None:
    tamper("/jwks", lambda _keys: {"keys": [KEY.as_dict(private=False)]})
    tamper("/token", forge(OURS, KEY, auth_time=10**400))

    walk(client, "carol")

    assert is_in(client)


# More brackets than a parser follows.
DEEP = b'{"a":' * 50_000


@pytest.mark.parametrize(
    ("end", "change", "status"),
    [
        ("/me", lambda told: told | {"name": "x" * 300_000}, 502),
        ("/openid-configuration", lambda said: said | {"issuer": "https://evil.test"}, 502),
        ("/openid-configuration", lambda said: said | {"token_endpoint": "http://evil.test/"}, 502),
        ("/openid-configuration", lambda said: said | {"jwks_uri": "file:///etc/passwd"}, 502),
        ("/openid-configuration", lambda said: [], 502),
        (
            "/openid-configuration",
            lambda said: said | {"token_endpoint_auth_methods_supported": None},
            502,
        ),
        ("/openid-configuration", lambda said: DEEP, 502),
        ("/jwks", lambda keys: DEEP, 403),
        ("/token", lambda answer: DEEP, 403),
        ("/jwks", lambda keys: {"keys": []}, 403),
        ("/jwks", lambda keys: {}, 403),
    ],
)
def test_an_answer_that_is_huge_or_not_what_it_should_be_is_refused(
    provider: Provider, client: Client, tamper: Tamper, end: str, change: Any, status: int
) -> None:
    if end == "/me":
        # As an answer, not as what has been read of it.
        provider.knows(carol=CAROL | {"name": "x" * 300_000})
    else:
        tamper(end, change)

    page = client.post("/accounts/with/acme/")
    answer = page if page.status_code != 200 else come_back(client, at_provider(page.context["url"], "carol"))

    assert answer.status_code == status
    assert not User.objects.exists()


def test_an_answer_works_once_and_only_in_the_browser_that_asked(provider: Provider, client: Client) -> None:
    url = at_provider(begin(client), "carol")

    elsewhere = come_back(Client(), url)
    first = come_back(client, url)
    again = come_back(client, url)

    assert (elsewhere.status_code, first.status_code, again.status_code) == (403, 302, 403)


def test_a_code_that_was_used_is_refused_by_the_provider_and_here(provider: Provider, client: Client) -> None:
    first = at_provider(begin(client), "carol")
    come_back(client, first)
    other = Client()
    second = parse_qs(urlsplit(at_provider(begin(other), "carol")).query)
    used = parse_qs(urlsplit(first).query)["code"][0]

    answer = other.get(
        "/accounts/with/acme/back/", {"code": used, "state": second["state"][0], "iss": provider.issuer}
    )

    assert answer.status_code == 403
    assert not is_in(other)


def test_a_stranger_cannot_slip_their_own_sign_in_into_a_victims_browser(
    provider: Provider, client: Client
) -> None:
    """Login CSRF: the victim would go on in the stranger's account."""
    provider.knows(mallory=CAROL | {"email": "mallory@example.com"}, carol=CAROL)
    mallorys = at_provider(begin(Client()), "mallory")
    begin(client)

    assert come_back(client, mallorys).status_code == 403
    assert not is_in(client)


def test_an_answer_of_one_provider_does_not_count_as_anothers(
    provider: Provider, settings: Settings, client: Client
) -> None:
    """Mix-up: the way was begun at one, and ends at the other's address, or names another issuer."""
    settings.OIDC_PROVIDERS = (provider.settings(), provider.settings("other"))
    url = at_provider(begin(client), "carol")

    at_others = come_back(client, url.replace("/acme/", "/other/"))
    wrong_issuer = come_back(client, at_provider(begin(client), "carol").replace("iss=http", "iss=https"))
    url = at_provider(begin(client), "carol")
    without = come_back(client, url.partition("&iss=")[0])

    assert [answer.status_code for answer in (at_others, wrong_issuer, without)] == [403, 403, 403]
    assert not User.objects.exists()


@pytest.mark.parametrize("query", ["", "?state=x&code=y", "?error=access_denied", f"?state={'x' * 9000}"])
def test_an_answer_to_nothing_is_refused(provider: Provider, client: Client, query: str) -> None:
    assert client.get(f"/accounts/with/acme/back/{query}").status_code == 403


def test_somebody_who_is_away_for_too_long_begins_anew(provider: Provider, client: Client) -> None:
    url = at_provider(begin(client), "carol")
    session = client.session
    for trip in session[openid.SESSION_KEY].values():
        trip["begun"] -= openid.AWAY_MAX + 1
    session.save()

    assert come_back(client, url).status_code == 403


def test_a_provider_that_is_down_is_said_to_be(
    provider: Provider, settings: Settings, client: Client
) -> None:
    from dataclasses import replace

    settings.OIDC_PROVIDERS = (replace(provider.settings(), issuer="http://127.0.0.1:1"),)

    answer = client.post("/accounts/with/acme/")

    assert answer.status_code == 502
    assert "Acme cannot be reached" in text_of(answer)


def test_the_log_names_nobody(provider: Provider, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    provider.knows(carol=CAROL | {"email": "carol@evil.test"})
    walk(client, "carol")
    client.get("/accounts/with/acme/back/?state=x&code=secret-code")

    assert "nothing is proven" in caplog.text
    assert not any(word in caplog.text for word in ("carol@", "secret-code", "eyJ"))
