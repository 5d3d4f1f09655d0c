"""Rights that an OpenID Connect provider gives, second factors, and connected accounts."""

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import time_machine
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.test import Client
from pytest_django import Settings

from accounts.models import Identity, User
from accounts.organisation.session_end import UNTIL
from domains.models import Domain
from tests.rig.openid.carol import CAROL, actions
from tests.rig.openid.serving import Provider, at_provider, begin, come_back, walk
from tests.rig.pages import text_of
from tests.rig.takeover import is_in

pytestmark = pytest.mark.django_db


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


DAY = 24 * 3600


def test_a_sign_in_elsewhere_lasts_a_day_and_rights_are_then_read_anew(ruling: Provider) -> None:
    ruling.knows(carol=CAROL | {"groups": ["admins"]})
    walk(client := Client(), "carol")
    ruling.knows(carol=CAROL)
    with time_machine.travel(time.time() + DAY - 600):
        before = client.get("/admin/").status_code
    with time_machine.travel(time.time() + DAY + 60):
        after = client.get("/admin/", follow=True)
    walk(client, "carol")
    again = client.get("/admin/").status_code

    assert before == 200
    assert after.redirect_chain[-1][0].startswith("/accounts/login/")
    assert (is_in(client), again) == (True, 302)


def test_a_sign_in_elsewhere_lasts_as_any_other_if_that_is_set(
    provider: Provider, client: Client, settings: Settings
) -> None:
    settings.ORGANISATION_SESSION_HOURS = 0
    walk(client, "carol")

    with time_machine.travel(time.time() + 3 * DAY):
        assert is_in(client)


def test_a_sign_in_with_a_password_of_this_site_lasts_as_before(provider: Provider, browser: Client) -> None:
    with time_machine.travel(time.time() + 3 * DAY):
        assert is_in(browser)


def test_to_confirm_a_sign_in_reads_rights_anew_and_begins_the_day_anew(ruling: Provider) -> None:
    ruling.knows(carol=CAROL | {"groups": ["admins"]})
    walk(client := Client(), "carol")
    ruling.knows(carol=CAROL)
    session = client.session
    session[UNTIL] = time.time() + 60
    session.save()

    walk(client, "carol", "/accounts/with/acme/confirm/")

    assert not carol().is_superuser
    assert client.session[UNTIL] > time.time() + DAY - 60
