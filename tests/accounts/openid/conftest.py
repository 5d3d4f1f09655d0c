"""A real OpenID Connect provider, which signs carol in."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from accounts.organisation import openid
from tests.conftest import missing
from tests.rig.openid.carol import CAROL, SITE
from tests.rig.openid.serving import Provider, is_installed, serving


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
