"""Signing in at a real OpenID Connect provider: who gets in, and as whom."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.test import Client
from pytest_django import Settings

from accounts.models import Identity, User
from accounts.organisation import openid
from aliases.issuing import issue
from tests.rig.openid.carol import CAROL, SITE, actions
from tests.rig.openid.serving import Provider, begin, walk
from tests.rig.pages import text_of
from tests.rig.signing_in import signed_in
from tests.rig.takeover import is_in

pytestmark = pytest.mark.django_db


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


def test_of_two_first_sign_ins_at_once_both_get_in(
    provider: Provider, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one makes the account after this one has looked for the identity."""
    from accounts.organisation import arriving

    walk(Client(), "carol")
    known, looks = arriving._locked, iter([True, False])
    monkeypatch.setattr(arriving, "_locked", lambda person: None if next(looks, False) else known(person))

    walk(client, "carol")

    assert is_in(client)
    assert User.objects.count() == Identity.objects.count() == 1
