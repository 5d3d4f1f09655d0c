"""Every page: axe finds nothing, wide and on a phone, light and dark; nothing overflows or is cut off, in
English and German, at 200 % zoom and at 320 pixels (WCAG 1.4.4, 1.4.10); no control is dead without scripts.

With SCREENSHOTS=<directory> in the environment (`make screenshots`) each is written there as well.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core import mail
from django.utils.html import escape
from playwright.sync_api import Page, expect

from accounts.models import User
from aliases.issuing import issue
from mail.delivery.reply_notices import tell_of_refusal
from mail.delivery.revealing import CALENDAR
from tests.e2e.conftest import PHONE, Visit
from tests.e2e.scenes import SCENES, Scene
from tests.e2e.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True)

WIDE = {"viewport": {"width": 1440, "height": 900}}
LOOKS = {
    "light": {**WIDE, "color_scheme": "light"},
    "dark": {**WIDE, "color_scheme": "dark"},
    "german": {**WIDE, "color_scheme": "light", "locale": "de-DE"},
    "phone": {**PHONE, "color_scheme": "light"},
}
# WIDE at a zoom of 200 %, and the narrowest that a page must fit (1,280 pixels at 400 %).
ZOOMED = 720
NARROWEST = 320

# What is cut off or reaches beyond the edge. A long note or the facts of a row may be shortened in the list
# (the alias's own page has them whole), and the reader's own address. Tables and code scroll for themselves.
CUT_OFF = """() => {
  const width = document.documentElement.clientWidth;
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    if (element.closest(".visually-hidden, .skip, .code")
        || element.closest(".nav__who, .alias__note, .alias__facts")
        || !element.checkVisibility({ visibilityProperty: true })) {
      continue;
    }
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
    const boxes = texts.map((text) => {
      const range = document.createRange();
      range.selectNodeContents(text);
      return range.getBoundingClientRect();
    });
    if (element.matches("input, select, textarea, button, img, svg")) {
      boxes.push(element.getBoundingClientRect());
    }
    const isBeyond = boxes.some((box) => box.width && (box.left < -1 || box.right > width + 1));
    const isClipped = texts.length && getComputedStyle(element).overflowX !== "visible"
      && element.scrollWidth > element.clientWidth + 1;
    if (isBeyond || isClipped) {
      found.push(element.outerHTML.slice(0, 160));
    }
  }
  return found;
}"""
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def scenes(visit: Visit, stage: Stage, **options: object) -> Iterator[tuple[Scene, Page]]:
    """Each scene, open in a window of whoever sees it."""
    windows: dict[tuple[str | None, bool], Page] = {}
    for scene in SCENES:
        key = (scene.who, scene.is_half_signed_in)
        if key not in windows:
            windows[key] = visit(client=scene.client(stage), **options)
        page = windows[key]
        page.goto(scene.path(stage))
        page.wait_for_load_state("networkidle")
        yield scene, page


def save(page: Page, name: str, look: str) -> None:
    """Write the page where SCREENSHOTS says."""
    if directory := os.environ.get("SCREENSHOTS"):
        Path(directory).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{directory}/{name}-{look}.png", full_page=True)


def show(scene: Scene, look: str, page: Page) -> None:
    """Write the page to SCREENSHOTS, if somebody wants to look at it; then open what is folded."""
    save(page, scene.name, look)
    page.evaluate("document.querySelectorAll('details.part').forEach((part) => { part.open = true; })")


def violations(page: Page, *rules: str) -> list[str]:
    # Colours on their way from one look to the other have no contrast that anybody would see for long.
    page.evaluate("Promise.allSettled(document.getAnimations().map((each) => each.finished))")
    options = {"runOnly": list(rules)} if rules else {}
    return [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in Axe().run(page, options=options).response["violations"]
        for node in violation["nodes"]
    ]


def does_not_fit(page: Page, *widths: int) -> list[str]:
    """What is wrong with the page as it is, and at other widths."""
    found = []
    for width in (0, *widths):
        if width:
            page.set_viewport_size({"width": width, "height": 700})
        if (wide := page.evaluate(SIDEWAYS)) > 0:
            found.append(f"scrolls sideways by {wide} at {width or 'its own width'}")
        found += [f"cut off at {width or 'its own width'}: {html}" for html in page.evaluate(CUT_OFF)]
    return found


def test_every_page_is_accessible_and_fits_a_desk(visit: Visit, stage: Stage) -> None:
    problems = []
    for scene, page in scenes(visit, stage, **WIDE):
        page.set_viewport_size(WIDE["viewport"])  # type: ignore[arg-type]
        page.emulate_media(color_scheme="dark")
        show(scene, "dark", page)
        found = violations(page, "color-contrast")
        page.emulate_media(color_scheme="light")
        show(scene, "light", page)
        found += violations(page)
        if (primary := page.locator(".button--primary:visible").count()) > 1:
            found.append(f"{primary} primary buttons")
        found += does_not_fit(page, ZOOMED, NARROWEST)
        problems += [f"{scene.name}: {problem}" for problem in found]

    assert problems == []


def test_every_page_is_accessible_and_fits_a_phone(visit: Visit, stage: Stage) -> None:
    problems = []
    for scene, page in scenes(visit, stage, **PHONE, color_scheme="light"):
        page.emulate_media(color_scheme="light")
        show(scene, "phone", page)
        found = violations(page) + does_not_fit(page)
        page.emulate_media(color_scheme="dark")
        found += violations(page, "color-contrast")
        problems += [f"{scene.name}: {problem}" for problem in found]

    assert problems == []


def test_every_page_fits_in_german(visit: Visit, stage: Stage) -> None:
    """Its words are longer."""
    problems = []
    for scene, page in scenes(visit, stage, **WIDE, locale="de-DE", color_scheme="light"):
        page.set_viewport_size(WIDE["viewport"])  # type: ignore[arg-type]
        show(scene, "german", page)
        problems += [f"{scene.name}: {problem}" for problem in does_not_fit(page, ZOOMED, 375, NARROWEST)]

    assert problems == []


def test_no_control_is_dead_without_scripts(visit: Visit, stage: Stage) -> None:
    """A form has a button that sends it, and what only a script could do is not shown."""
    problems = []
    for scene, page in scenes(visit, stage, **WIDE, java_script_enabled=False):
        expect(page.locator("h1").first).to_be_visible()
        dead = page.evaluate(
            """() => {
              const isShown = (element) => element.checkVisibility();
              const buttons = [...document.querySelectorAll("main button[type=button]:not([popovertarget])")];
              const links = [...document.querySelectorAll("main a:not([href])")];
              const forms = [...document.querySelectorAll("main form")].filter((form) => {
                const parts = [...form.elements].filter(isShown);
                const sends = parts.some((part) => part.type === "submit");
                return parts.some((part) => part.matches("input, select, textarea")) && !sends;
              });
              return [...buttons, ...links, ...forms].filter(isShown).map((e) => e.outerHTML.slice(0, 160));
            }"""
        )
        problems += [f"{scene.name}: {html}" for html in dead if scene.name not in NEED_SCRIPTS]

    assert problems == []


# A passkey can be had from a script alone; the page says so.
NEED_SCRIPTS = {"passkey", "confirm-passkey", "second-factor-asked", "sign-in"}


# A mail, as mail programs show its text.
MAIL = """<!doctype html><html lang="{language}"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width"><title>{subject}</title>
<body style="max-width: 40rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif">
<h1 style="font-size: 1.2rem">{subject}</h1><pre style="font: inherit; white-space: pre-wrap">{text}</pre>"""
NOT_SENT = {"en": f"{CALENDAR}.", "de": "Die Antwort auf eine Einladung nennt deine eigene Adresse."}


@pytest.mark.parametrize("look", LOOKS)
def test_the_notice_of_a_refused_reply_can_be_read(visit: Visit, alice: User, look: str) -> None:
    language = "de" if look == "german" else "en"
    alias = issue(owner=alice, hostname="shop.test").address
    tell_of_refusal(alice.email, language, alias, "jane@shop.test", CALENDAR, is_proven=True)
    (notice,) = mail.outbox
    shown = {"subject": escape(notice.subject), "text": escape(notice.body), "language": language}

    page = visit(**LOOKS[look])
    page.set_content(MAIL.format(**shown))

    for words in (alias, "jane@shop.test", NOT_SENT[language]):
        assert words in page.inner_text("body")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    save(page, "reply-refused", look)


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
