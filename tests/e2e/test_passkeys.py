"""Passkeys, with a key that Chromium plays."""

import pytest
from django.core import mail
from playwright.sync_api import Page, expect

from accounts.models import User
from tests.e2e.conftest import Visit
from tests.rig.signing_in import signed_in

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "/accounts/2fa/webauthn/add/"


def give_key(page: Page) -> None:
    """Plug a key into the browser that says yes to everything."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_a_passkey_is_added_and_signs_in_alone(visit: Visit, alice: User) -> None:
    page = visit(client=signed_in(alice))
    give_key(page)
    page.goto(ADD)
    page.get_by_label("Sign in with this passkey alone").check()
    page.get_by_role("button", name="Add").click()

    expect(page.get_by_text("The passkey has been added.")).to_be_visible()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    assert [message.subject for message in mail.outbox] == ["[Anonmail] A passkey was added"]
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("heading", name="Anonymous aliases")).to_be_visible()


@pytest.mark.parametrize("path", [ADD, "/accounts/login/"])
def test_where_browsers_allow_no_passkeys_the_page_says_where_they_do(
    visit: Visit, alice: User, path: str
) -> None:
    page = visit(client=signed_in(alice) if path == ADD else None)
    page.goto("/health")
    numeric = page.url.replace("localhost", "127.0.0.1").removesuffix("/health")
    cookies = [{**cookie, "domain": "127.0.0.1"} for cookie in page.context.cookies()]
    page.context.add_cookies(cookies)  # type: ignore[arg-type]
    page.goto(numeric + path)

    page.get_by_role("button", name="Add" if path == ADD else "Sign in with a passkey").click()

    port = numeric.rpartition(":")[2]
    expect(page.get_by_role("alert")).to_contain_text(f"Open this site at http://localhost:{port}/ instead.")


def test_a_passkey_that_is_not_given_leaves_the_other_ways(visit: Visit) -> None:
    page = visit()
    give_key(page)
    page.goto("/accounts/login/")

    page.get_by_role("button", name="Sign in with a passkey").click()

    expect(page.get_by_role("alert")).to_contain_text("No passkey was used.")
