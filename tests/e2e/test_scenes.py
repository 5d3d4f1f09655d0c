"""Every page, light and dark, wide and on a phone, in German: axe finds nothing, nothing overflows.

With SCREENSHOTS=<directory> in the environment (`make screenshots`) each is written there as well.
"""

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core import mail
from django.utils.html import escape
from playwright.sync_api import Page
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from mail.delivery.reply_notices import tell_of_refusal
from tests.e2e.conftest import Visit
from tests.e2e.scenes import SCENES, Scene, Stage, set_stage

WIDE = {"width": 1200, "height": 800}
LOOKS = {
    "light": {"color_scheme": "light", "viewport": WIDE},
    "dark": {"color_scheme": "dark", "viewport": WIDE},
    "german": {"color_scheme": "light", "viewport": WIDE, "locale": "de-DE"},
    "phone": {
        "color_scheme": "light",
        "viewport": {"width": 390, "height": 844},
        "has_touch": True,
        "is_mobile": True,
    },
}


@pytest.fixture
def stage(transactional_db: None, settings: Settings) -> Stage:
    settings.MAIL_HOSTNAME = "mx.example.com"
    settings.MAIL_SUBMISSION_TLS_LISTEN = "0.0.0.0:465"
    return set_stage()


def save(page: Page, name: str, look: str) -> None:
    """Write the page where SCREENSHOTS says."""
    if directory := os.environ.get("SCREENSHOTS"):
        Path(directory).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{directory}/{name}-{look}.png", full_page=True)


def look_at(page: Page, scene: Scene, stage: Stage) -> None:
    page.goto(scene.path(stage))
    page.wait_for_load_state("networkidle")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_accessible_and_fits(visit: Visit, stage: Stage, look: str) -> None:
    windows: dict[tuple[str | None, bool], Page] = {}
    violations = []
    for scene in SCENES:
        key = (scene.who, scene.is_half_signed_in)
        if key not in windows:
            windows[key] = visit(client=stage.client(scene), **LOOKS[look])
        page = windows[key]
        look_at(page, scene, stage)
        save(page, scene.name, look)
        results = Axe().run(page)
        violations += [
            f"{scene.name}: {violation['id']}: {node['html'][:200]}"
            for violation in results.response["violations"]
            for node in violation["nodes"]
        ]
        primary = page.locator(".button--primary:visible").count()
        if primary > 1:
            violations.append(f"{scene.name}: {primary} primary buttons")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            violations.append(f"{scene.name}: scrolls sideways by {wide} pixels")

    assert violations == []


# A mail, as mail programs show its text.
MAIL = """<!doctype html><html lang="{language}"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width"><title>{subject}</title>
<body style="max-width: 40rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif">
<h1 style="font-size: 1.2rem">{subject}</h1><pre style="font: inherit; white-space: pre-wrap">{text}</pre>"""
NOT_SENT = {"en": "It was not sent.", "de": "Sie wurde nicht gesendet."}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("look", LOOKS)
def test_the_notice_of_a_refused_reply_can_be_read(visit: Visit, alice: User, look: str) -> None:
    language = "de" if look == "german" else "en"
    alias = issue(owner=alice, hostname="shop.test").address
    reason = "The calendar answer names your own address"
    tell_of_refusal(alice.email, language, alias, "jane@shop.test", reason)
    (notice,) = mail.outbox
    shown = {"subject": escape(notice.subject), "text": escape(notice.body), "language": language}

    page = visit(**LOOKS[look])
    page.set_content(MAIL.format(**shown))

    for words in (alias, "jane@shop.test", NOT_SENT[language], f"{reason}."):
        assert words in page.inner_text("body")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    save(page, "reply-refused", look)


@pytest.mark.django_db(transaction=True)
def test_placeholders_can_be_read_in_the_dark(visit: Visit, alice: User) -> None:
    page = visit(alice, color_scheme="dark")
    page.goto("/aliases/")

    ratio = page.get_by_label("Website").evaluate(
        """(input) => {
          const light = (text) => {
            const [r, g, b] = text.match(/[0-9.]+/g).map((part) => {
              const share = part / 255;
              return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const back = light(getComputedStyle(input).backgroundColor);
          const front = light(getComputedStyle(input, "::placeholder").color);
          return (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
        }"""
    )

    assert ratio >= 4.5
