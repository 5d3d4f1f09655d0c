"""Signing in at a real provider, in a real browser, as a person does."""

import pytest
from playwright.sync_api import expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Identity, User
from accounts.organisation import openid
from tests.conftest import missing
from tests.e2e.conftest import Visit
from tests.rig.openid.serving import is_installed, serving

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_person_signs_in_with_the_provider_and_looks_at_the_connected_accounts(
    visit: Visit, live_server: LiveServer, settings: Settings
) -> None:
    if not is_installed():
        missing("the OpenID Connect provider, which `make test` installs,")
    openid.forget()
    settings.SITE_URL = live_server.url
    with serving(live_server.url, "acme") as provider:
        settings.OIDC_PROVIDERS = (provider.settings(),)
        provider.knows(carol={"email": "carol@example.com", "email_verified": True, "name": "Carol"})
        page = visit()

        page.goto("/tokens/")
        page.get_by_role("button", name="Sign in with Acme").click()
        page.get_by_label("Who are you?").fill("carol")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/tokens/")
        page.get_by_role("link", name="Account", exact=True).click()
        page.get_by_role("link", name="Connected accounts").click()

        expect(page.get_by_role("strong").filter(has_text="Acme")).to_be_visible()
        page.get_by_role("button", name="Disconnect Acme").click()
        expect(page.get_by_text("This is your only way to sign in.")).to_be_visible()
        assert User.objects.get().email == "carol@example.com"
        assert Identity.objects.count() == 1


def test_it_works_without_scripts(visit: Visit, live_server: LiveServer, settings: Settings) -> None:
    if not is_installed():
        missing("the OpenID Connect provider, which `make test` installs,")
    openid.forget()
    settings.SITE_URL = live_server.url
    settings.LOCAL_PASSWORDS = False
    with serving(live_server.url, "acme") as provider:
        settings.OIDC_PROVIDERS = (provider.settings(),)
        provider.knows(carol={"email": "carol@example.com", "email_verified": True})
        page = visit(java_script_enabled=False)

        page.goto("/")
        page.get_by_role("button", name="Sign in with Acme").click()
        page.get_by_label("Who are you?").fill("carol")
        page.get_by_role("button", name="Sign in").click()

        page.wait_for_url("**/aliases/")
        assert User.objects.get().email == "carol@example.com"
