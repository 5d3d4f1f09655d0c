"""A real Chromium against a live server. Debian's browser; Playwright brings none of its own here."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from tests.conftest import missing
from tests.e2e.stage import PROVIDER, Stage, set_stage

# Playwright's loop runs in the test's thread, where Django would refuse the ORM.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

# Milliseconds that a busy machine may take for a step.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)

PHONE = {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if executable is None:
        missing("Chromium (Debian: apt install chromium)")
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=flags)
        yield chromium
        chromium.close()


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, live_server: LiveServer) -> Iterator[Visit]:
    """Opens a browser window for a user, or with a client's session (neither: signed out); options as
    `Browser.new_context` takes them.

    Every window fails its test when a page throws, or when its Content-Security-Policy is broken.
    """
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_window(user: User | None = None, client: Client | None = None, **options: object) -> Page:
        options.setdefault("locale", "en-GB")
        context = browser.new_context(base_url=live_server.url, **options)  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        if options.get("java_script_enabled", True):
            context.grant_permissions(["clipboard-read", "clipboard-write"])
        if user is not None:
            client = Client()
            client.force_login(user)
        if client is not None and "sessionid" in client.cookies:
            cookie = client.cookies["sessionid"]
            context.add_cookies([{"name": "sessionid", "value": cookie.value, "url": live_server.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: problems.append(message.text) if "Content Security" in message.text else None,
        )
        return page

    yield open_window
    for context in contexts:
        try:
            context.close()
        except Error:
            continue
    assert problems == []


@pytest.fixture
def stage(transactional_db: None, settings: Settings) -> Stage:
    settings.MAIL_HOSTNAME = "mx.example.com"
    settings.MAIL_SUBMISSION_TLS_LISTEN = "0.0.0.0:465"
    settings.OIDC_PROVIDERS = (PROVIDER,)
    return set_stage()
