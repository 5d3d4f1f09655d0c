"""What Chromium itself says of installing the site as an app."""

import pytest

from accounts.models import User
from tests.e2e.conftest import Visit

pytestmark = pytest.mark.django_db(transaction=True)


def test_chromium_finds_nothing_that_prevents_installing(visit: Visit, alice: User) -> None:
    page = visit(alice)
    page.goto("/aliases/")
    chromium = page.context.new_cdp_session(page)

    manifest = chromium.send("Page.getAppManifest")
    errors = chromium.send("Page.getInstallabilityErrors")["installabilityErrors"]

    assert manifest["url"].endswith("/manifest.webmanifest")
    assert manifest["errors"] == []
    # A private window keeps no app; a test's window is one.
    assert [error["errorId"] for error in errors] in ([], ["in-incognito"])
