"""Signing in at a real OpenID Connect provider, and what it takes to be believed."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.test import Client
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from pytest_django import Settings

from accounts.models import Identity, User
from accounts.organisation import openid
from aliases.issuing import issue
from core.audit import AuditEntry
from domains.models import Domain
from tests.conftest import missing
from tests.rig.openid.serving import Provider, at_provider, begin, come_back, is_installed, serving, walk
from tests.rig.pages import text_of
from tests.rig.signing_in import signed_in
from tests.rig.takeover import is_in

pytestmark = pytest.mark.django_db

SITE = "http://localhost:8000"
CAROL = {"email": "carol@example.com", "email_verified": True, "name": "Carol"}


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    if not is_installed():
        missing("the OpenID Connect provider, which `make test` installs,")
    with serving(SITE, "acme", "other") as provider:
        yield provider


@pytest.fixture
def provider(running: Provider, settings: Settings) -> Provider:
    """The provider, trusted for example.com, where carol can sign in."""
    openid.forget()
    settings.OIDC_PROVIDERS = (running.settings(),)
    running.knows(carol=CAROL)
    return running


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


# --- Coming in ---------------------------------------------------------------------------------


def test_a_new_person_gets_an_account_and_is_signed_in(provider: Provider, client: Client) -> None:
    answer = walk(client, "carol", next="/tokens/")

    carol = User.objects.get(email="carol@example.com")
    assert answer["Location"] == "/tokens/"
    assert is_in(client)
    assert (carol.name, carol.is_superuser, carol.has_usable_password()) == ("Carol", False, False)
    assert EmailAddress.objects.get(user=carol).verified
    assert (Identity.objects.get().issuer, Identity.objects.get().subject) == (provider.issuer, "carol")
    assert actions() == ["identity.create_user"]


def test_the_next_time_it_is_the_same_account_though_the_address_is_another(
    provider: Provider, client: Client
) -> None:
    walk(client, "carol")
    provider.knows(carol=CAROL | {"email": "carol.new@example.com"})

    walk(again := Client(), "carol")

    assert is_in(again)
    assert User.objects.get().email == "carol@example.com"


def test_the_browser_goes_there_with_a_challenge_and_a_nonce(provider: Provider, client: Client) -> None:
    page = client.post("/accounts/with/acme/")
    asked = parse_qs(urlsplit(page.context["url"]).query)

    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [f"{SITE}/accounts/with/acme/back/"]
    assert min(len(asked[name][0]) for name in ("state", "nonce", "code_challenge")) == 43
    # The page's form may only go to this site, so that no redirect after it can be blocked or abused.
    assert "form-action 'self'" in page["Content-Security-Policy"]
    assert "no-store" in page["Cache-Control"]


@pytest.mark.parametrize(
    "away", ["https://evil.test/", "//evil.test/", "javascript:alert(1)", "/\\evil.test"]
)
def test_nobody_is_sent_elsewhere_afterwards(provider: Provider, client: Client, away: str) -> None:
    assert walk(client, "carol", next=away)["Location"] == "/aliases/"


def test_a_get_begins_nothing(provider: Provider, client: Client) -> None:
    assert client.get("/accounts/with/acme/").status_code == 405
    assert client.post("/accounts/with/nobody/").status_code == 404
    assert Client(enforce_csrf_checks=True).post("/accounts/with/acme/").status_code == 403


def test_a_client_begins_only_so_often(provider: Provider, client: Client) -> None:
    for _ in range(30):
        begin(client)

    assert client.post("/accounts/with/acme/").status_code == 429
    assert len(client.session[openid.SESSION_KEY]) == openid.TRIPS_MAX


def test_somebody_who_cancels_is_told_so_in_our_words(provider: Provider, client: Client) -> None:
    answer = walk(client, "nobody")

    assert answer.status_code == 403
    assert "Acme did not sign you in." in text_of(answer)
    assert b"<script>alert" not in answer.content


# --- Who is believed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"email": "carol@example.com"}, "does not say that your e-mail address is verified"),
        ({**CAROL, "email_verified": False}, "does not say that your e-mail address is verified"),
        ({**CAROL, "email_verified": "true"}, "does not say that your e-mail address is verified"),
        ({"email_verified": True}, "did not say what your e-mail address is"),
        ({**CAROL, "email": "carol@example.com,root@admin.test"}, "did not say what your e-mail"),
        ({**CAROL, "email": ["carol@example.com"]}, "did not say what your e-mail"),
        ({**CAROL, "email": "carol@example.com\r\nBcc: x@evil.test"}, "did not say what your e-mail"),
        ({**CAROL, "email": "carol@evil.test"}, "You have no account here"),
        ({**CAROL, "email": "carol@sub.example.com"}, "You have no account here"),
        ({**CAROL, "email": "carol@example.com.evil.test"}, "You have no account here"),
    ],
)
def test_whoever_brings_no_fit_address_gets_no_account(
    provider: Provider, client: Client, claims: dict[str, Any], sentence: str
) -> None:
    provider.knows(carol=claims)

    answer = walk(client, "carol")

    assert answer.status_code == 403
    assert sentence in text_of(answer)
    assert not User.objects.exists()
    assert not is_in(client)


def test_an_alias_becomes_nobodys_address(provider: Provider, client: Client, alice: User) -> None:
    alias = issue(owner=alice)
    provider.knows(carol=CAROL | {"email": alias.address.replace("@", "+tag@").upper()})

    answer = walk(client, "carol")

    assert "cannot be used here" in text_of(answer)
    assert User.objects.get() == alice


def test_an_account_that_exists_is_not_taken_over(provider: Provider, client: Client, alice: User) -> None:
    provider.knows(mallory=CAROL | {"email": alice.email})

    answer = walk(client, "mallory")

    assert "There is an account with your e-mail address already." in text_of(answer)
    assert not is_in(client)
    assert not Identity.objects.exists()


def test_a_provider_that_decides_about_the_domain_gives_the_account_to_its_person(
    provider: Provider,
    settings: Settings,
    client: Client,
    alice: User,
    django_capture_on_commit_callbacks: Any,
) -> None:
    settings.OIDC_PROVIDERS = (provider.settings(vouches_for=("example.com",)),)
    provider.knows(alice=CAROL | {"email": alice.email})

    with django_capture_on_commit_callbacks(execute=True):
        walk(client, "alice")

    assert is_in(client)
    assert Identity.objects.get().user == alice
    assert alice.check_password("alice-password-1")
    assert actions() == ["identity.link"]
    told = [message.subject for message in mail.outbox if message.to == [alice.email]]
    assert "[Anonmail] Your account is connected with Acme" in told


def test_whoever_signed_up_with_a_strangers_address_loses_the_account_to_its_person(
    provider: Provider, settings: Settings, client: Client, alice: User
) -> None:
    EmailAddress.objects.filter(user=alice).update(verified=False)
    TOTP.activate(alice, generate_totp_secret())
    squatter = signed_in(alice)
    settings.OIDC_PROVIDERS = (provider.settings(vouches_for=("example.com",)),)
    provider.knows(alice=CAROL | {"email": alice.email})

    walk(client, "alice")

    alice.refresh_from_db()
    assert is_in(client)
    assert not is_in(squatter)
    assert not alice.has_usable_password()
    assert not alice.authenticator_set.exists()


def test_a_vouching_provider_must_have_verified_the_address(
    provider: Provider, settings: Settings, client: Client, alice: User
) -> None:
    settings.OIDC_PROVIDERS = (provider.settings(vouches_for=("example.com",)),)
    provider.knows(mallory={"email": alice.email, "email_verified": False})

    assert walk(client, "mallory").status_code == 403
    assert not is_in(client)


def test_a_further_address_of_somebody_makes_no_account(
    provider: Provider, settings: Settings, client: Client, alice: User
) -> None:
    settings.OIDC_PROVIDERS = (provider.settings(vouches_for=("example.com",)),)
    EmailAddress.objects.create(user=alice, email="carol@example.com", verified=True)

    assert "cannot be used here" in text_of(walk(client, "carol"))
    assert not is_in(client)


def test_whoever_is_deactivated_stays_out(provider: Provider, client: Client) -> None:
    walk(client, "carol")
    User.objects.get().deactivate()

    answer = walk(again := Client(), "carol")

    assert answer["Location"] == "/accounts/inactive/"
    assert not is_in(again)


# --- Forged answers -------------------------------------------------------------------------------

KEY = RSAKey.generate_key(2048, {"kid": "k1", "alg": "RS256", "use": "sig"})
Tamper = Callable[..., None]


@pytest.fixture
def tamper(monkeypatch: pytest.MonkeyPatch) -> Tamper:
    """Let `change` alter the JSON of each answer of the provider at a path that ends in `end`."""

    def install(end: str, change: Callable[[dict[str, Any]], Any]) -> None:
        original = openid._Session.request

        def request(self: Any, method: str, url: str, **options: Any) -> requests.Response:
            answer = original(self, method, url, **options)
            if urlsplit(url).path.endswith(end):
                answer._content = json.dumps(change(answer.json())).encode()
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


@pytest.mark.parametrize(
    ("end", "change", "status"),
    [
        ("/me", lambda told: told | {"name": "x" * 300_000}, 502),
        ("/openid-configuration", lambda said: said | {"issuer": "https://evil.test"}, 502),
        ("/openid-configuration", lambda said: said | {"token_endpoint": "http://evil.test/"}, 502),
        ("/openid-configuration", lambda said: said | {"jwks_uri": "file:///etc/passwd"}, 502),
        ("/openid-configuration", lambda said: [], 502),
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


# --- Answers that were not asked for --------------------------------------------------------------


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


# --- Rights ---------------------------------------------------------------------------------------


@pytest.fixture
def ruling(provider: Provider, settings: Settings, root: User) -> Provider:
    """The provider, whose claims decide who is a global admin and who manages a domain."""
    rights = {"admin_group": "admins", "domains_claim": "manages", "manager_prefix": "manages:"}
    settings.OIDC_PROVIDERS = (provider.settings(**rights),)
    return provider


def carol() -> User:
    return User.objects.get(email="carol@example.com")


def test_a_group_gives_a_right_and_takes_it_at_the_next_sign_in(ruling: Provider) -> None:
    ruling.knows(carol=CAROL | {"groups": ["staff", "admins"]})
    walk(Client(), "carol")
    given = carol().is_superuser
    ruling.knows(carol=CAROL | {"groups": ["staff"]})
    walk(Client(), "carol")

    assert (given, carol().is_superuser) == (True, False)
    assert actions() == ["identity.create_user", "admin.give", "admin.take"]


def test_what_an_admin_gave_by_hand_stays(ruling: Provider) -> None:
    walk(Client(), "carol")
    User.objects.filter(pk=carol().pk).update(is_superuser=True)

    walk(Client(), "carol")

    assert carol().is_superuser


def test_the_last_global_admin_stays_one(ruling: Provider, root: User) -> None:
    ruling.knows(carol=CAROL | {"groups": ["admins"]})
    walk(Client(), "carol")
    root.deactivate()
    ruling.knows(carol=CAROL)

    walk(client := Client(), "carol")

    assert is_in(client)
    assert carol().is_superuser
    assert actions()[-1] == "admin.keep"


def test_claims_and_groups_name_the_domains_that_somebody_manages(
    ruling: Provider, example_com: Domain, other_org: Domain
) -> None:
    third = Domain.objects.create(name="third.net")
    third_by_hand = carol_manages
    claims = {"manages": ["EXAMPLE.com"], "groups": ["manages:other.org", "manages:"]}
    ruling.knows(carol=CAROL | claims)
    walk(Client(), "carol")
    third.managers.add(carol())
    first = third_by_hand()
    ruling.knows(carol=CAROL | {"manages": "example.com"})
    walk(Client(), "carol")

    assert first == ["example.com", "other.org", "third.net"]
    assert carol_manages() == ["example.com", "third.net"]
    assert actions() == ["identity.create_user", "manager.give", "manager.give", "manager.take"]


def carol_manages() -> list[str]:
    return list(carol().managed_domains.values_list("name", flat=True))


@pytest.mark.parametrize(
    "claim",
    [
        "*",
        "%",
        ["example.com' OR 1=1 --"],
        ["sub.example.com"],
        {"example.com": True},
        [["example.com"]],
        7,
        ["x.test"] * 1001 + ["example.com"],
        ["example.com\x00"],
        ["a" * 100_000 + ".example.com"],
    ],
)
def test_a_claim_that_names_no_domain_here_gives_nothing(
    ruling: Provider, example_com: Domain, claim: Any
) -> None:
    ruling.knows(carol=CAROL | {"manages": claim, "groups": claim})

    walk(Client(), "carol")

    assert carol_manages() == []
    assert not carol().is_superuser


# --- The second factor, and confirming ------------------------------------------------------------


def test_the_second_factor_is_asked_for_unless_the_provider_has_asked(
    provider: Provider, settings: Settings, client: Client
) -> None:
    settings.OIDC_PROVIDERS = (provider.settings(second_factor=("otp",)),)
    walk(client, "carol")
    TOTP.activate(carol(), generate_totp_secret())

    asked = walk(one := Client(), "carol")
    provider.knows(carol=CAROL | {"amr": ["pwd"]})
    still_asked = walk(two := Client(), "carol")
    provider.knows(carol=CAROL | {"amr": ["pwd", "otp"]})
    walk(three := Client(), "carol")

    assert asked["Location"].startswith("/accounts/2fa/authenticate/")
    assert still_asked["Location"].startswith("/accounts/2fa/authenticate/")
    assert [is_in(browser) for browser in (one, two, three)] == [False, False, True]


def test_a_second_factor_that_the_provider_is_not_believed_about_counts_for_nothing(
    provider: Provider, client: Client
) -> None:
    walk(client, "carol")
    TOTP.activate(carol(), generate_totp_secret())
    provider.knows(carol=CAROL | {"amr": ["otp", "mfa"]})

    walk(again := Client(), "carol")

    assert not is_in(again)


def test_somebody_without_a_password_confirms_at_the_provider(provider: Provider, client: Client) -> None:
    import time_machine

    walk(client, "carol")
    recent = client.get("/tokens/new/")
    with time_machine.travel(time.time() + 3600):
        asked = client.get("/tokens/new/")
        tried = client.post("/tokens/new/", {"name": "x"})
        page = client.get(asked["Location"])

    assert recent.status_code == 200
    assert asked["Location"].startswith("/accounts/with/acme/confirm/?next=")
    assert tried["Location"].startswith("/accounts/with/acme/confirm/")
    assert "Acme asks you to sign in again." in text_of(page)


def test_confirming_takes_a_new_sign_in_of_the_same_person(provider: Provider, client: Client) -> None:
    provider.knows(carol=CAROL, mallory=CAROL | {"email": "mallory@example.com"})
    there = requests.Session()
    come_back(client, at_provider(begin(client), "carol", there))
    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 3600
    session.save()
    asked = client.get("/tokens/new/")
    path = urlsplit(asked["Location"]).path

    url = begin(client, path, next="/tokens/new/")
    another = come_back(client, at_provider(url, "mallory"))
    still = client.get("/tokens/new/")
    same = come_back(client, at_provider(begin(client, path, next="/tokens/new/"), "carol"))

    assert {"prompt=login", "max_age=0"} <= set(urlsplit(url).query.split("&"))
    assert another.status_code == 403
    assert still.status_code == 302
    assert same["Location"] == "/tokens/new/"
    assert client.get("/tokens/new/").status_code == 200


# --- Connected accounts ----------------------------------------------------------------------------


def test_an_account_is_connected_and_disconnected(
    provider: Provider, browser: Client, alice: User, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = walk(browser, "carol", "/accounts/with/acme/connect/")
    page = browser.get(answer["Location"])
    walk(elsewhere := Client(), "carol")
    came_in = elsewhere.get("/account/")
    with django_capture_on_commit_callbacks(execute=True):
        browser.post(f"/account/connected/{Identity.objects.get().pk}/remove/")

    assert "Acme" in text_of(page)
    assert alice.email in text_of(came_in)
    assert not Identity.objects.exists()
    assert actions() == ["identity.connect", "identity.disconnect"]
    subjects = [message.subject for message in mail.outbox]
    assert "[Anonmail] Your account is connected with Acme" in subjects
    assert "[Anonmail] Your account is no longer connected with Acme" in subjects


def test_connecting_needs_a_recent_sign_in(provider: Provider, browser: Client) -> None:
    session = browser.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 3600
    session.save()

    asked = browser.post("/accounts/with/acme/connect/")

    assert asked["Location"].startswith("/accounts/reauthenticate/")


def test_what_is_anothers_cannot_be_connected_or_removed(
    provider: Provider, browser: Client, mallory: User
) -> None:
    walk(Client(), "carol")
    theirs = Identity.objects.get()

    connected = walk(browser, "carol", "/accounts/with/acme/connect/")
    removed = browser.post(f"/account/connected/{theirs.pk}/remove/")

    assert (connected.status_code, removed.status_code) == (409, 404)
    assert Identity.objects.get() == theirs


def test_a_way_that_was_begun_signed_in_ends_with_the_session(provider: Provider, browser: Client) -> None:
    url = at_provider(begin(browser, "/accounts/with/acme/connect/"), "carol")
    browser.post("/accounts/logout/")

    assert come_back(browser, url).status_code == 403
    assert not Identity.objects.exists()


def test_the_only_way_in_cannot_be_removed(provider: Provider, client: Client) -> None:
    walk(client, "carol")

    client.post(f"/account/connected/{Identity.objects.get().pk}/remove/")

    assert Identity.objects.exists()
    assert "This is your only way to sign in." in text_of(client.get("/account/connected/"))


def test_rights_go_with_the_account_that_gave_them(
    ruling: Provider, browser: Client, alice: User, example_com: Domain
) -> None:
    ruling.knows(carol=CAROL | {"groups": ["admins"], "manages": ["example.com"]})
    walk(browser, "carol", "/accounts/with/acme/connect/")
    alice.refresh_from_db()
    had = (alice.is_superuser, alice.managed_domains.count())
    browser.post(f"/account/connected/{Identity.objects.get().pk}/remove/")
    alice.refresh_from_db()

    assert had == (True, 1)
    assert (alice.is_superuser, alice.managed_domains.count()) == (False, 0)


def test_whoever_uses_no_provider_sees_none(client: Client, browser: Client) -> None:
    assert b"organisation" not in Client().get("/accounts/login/").content
    assert "Connected accounts" not in text_of(browser.get("/account/"))
