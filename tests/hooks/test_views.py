"""The pages of web hooks."""

import re
from datetime import timedelta

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from hooks.messages import write_test
from hooks.models import HOOKS_MAX, Hook, HookMessage
from tests.rig.hooking import make

pytestmark = pytest.mark.django_db

NEW = {"url": "https://hooks.example.net/x?key=1", "events": ["alias.created", "sender.new"]}
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")


def test_a_new_hook_shows_its_secret_once(browser: Client, alice: User) -> None:
    answer = browser.post("/hooks/new/", NEW)

    (secret,) = set(SECRET.findall(answer.content.decode()))
    assert answer["Cache-Control"].count("no-store") == 1
    hook = Hook.objects.owned_by(alice).get()
    assert (hook.url, hook.events) == (NEW["url"], "alias.created sender.new")
    assert secret not in hook.sealed_secret
    for page in ("/hooks/", f"/hooks/{hook.pk}/", f"/hooks/{hook.pk}/edit/", "/account/everything.json"):
        assert not SECRET.search(browser.get(page).content.decode())
    # The page is loaded again.
    again = browser.post("/hooks/new/", NEW, follow=True)
    assert "was already made" in again.content.decode()
    assert Hook.objects.count() == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.net/",
        "https://hooks.example.net:25/",
        "https://user:password@hooks.example.net/",
        "https://hooks.example.net/#x",
        "https://hooks.example.net/\r\nX-Injected: yes",
        "https://hooks.example.net/a b",
        "https://hooks.example.net\\@evil.test/",
        "https://localhost/",
        "https://intranet/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://[::1]/",
        "https://169.254.169.254/",
        "https://2130706433/",
        "file:///etc/passwd",
        "gopher://hooks.example.net/",
        "https://",
        "https://[::1",
        "//hooks.example.net/",
        "javascript:alert(1)",
        "https://hooks.example.net/" + "x" * 2000,
        "https://hooks.example.net/\x00",
    ],
)
def test_a_url_that_leads_elsewhere_is_refused(browser: Client, url: str) -> None:
    answer = browser.post("/hooks/new/", NEW | {"url": url})

    assert answer.status_code == 422
    assert Hook.objects.count() == 0


def test_our_own_server_is_no_hook(browser: Client, settings: Settings) -> None:
    settings.SITE_URL = "https://mail.example.org"

    answer = browser.post("/hooks/new/", NEW | {"url": "https://MAIL.example.org/api/alias/random/new"})

    assert "Anonmail’s own server" in answer.content.decode().replace("&#x27;", "’")
    assert Hook.objects.count() == 0


@pytest.mark.parametrize("events", [[], ["alias.eaten"], ["alias.created", "x" * 500]])
def test_events_that_do_not_exist_are_refused(browser: Client, events: list[str]) -> None:
    answer = browser.post("/hooks/new/", NEW | {"events": events})

    assert answer.status_code == 422
    assert Hook.objects.count() == 0


def test_a_person_has_so_many_hooks(browser: Client, alice: User) -> None:
    for _number in range(HOOKS_MAX):
        make(alice)

    answer = browser.post("/hooks/new/", NEW)

    assert f"You already have {HOOKS_MAX} web hooks." in answer.content.decode()
    assert Hook.objects.count() == HOOKS_MAX


def test_another_url_and_a_new_secret_need_a_fresh_sign_in(browser: Client, alice: User) -> None:
    """Whoever finds an open browser cannot have the messages sent elsewhere."""
    hook = make(alice).hook
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        for page in ("/hooks/new/", f"/hooks/{hook.pk}/edit/", f"/hooks/{hook.pk}/secret/"):
            for answer in (browser.get(page), browser.post(page, NEW)):
                assert answer.status_code == 302
                assert answer["Location"].startswith("/accounts/reauthenticate/")

    hook.refresh_from_db()
    assert hook.url == "https://hooks.example.net/x"
    assert Hook.objects.count() == 1


def test_a_hook_is_changed(browser: Client, alice: User) -> None:
    hook = make(alice).hook

    refused = browser.post(f"/hooks/{hook.pk}/edit/", NEW | {"url": "http://x.test"})
    answer = browser.post(f"/hooks/{hook.pk}/edit/", NEW)

    assert refused.status_code == 422
    assert answer.status_code == 302
    hook.refresh_from_db()
    assert (hook.url, hook.events) == (NEW["url"], "alias.created sender.new")


def test_a_new_secret_is_shown_once(browser: Client, alice: User) -> None:
    made = make(alice)
    page = f"/hooks/{made.hook.pk}/secret/"

    asked = browser.get(page).content.decode()
    shown = browser.post(page).content.decode()

    assert not SECRET.search(asked)
    assert set(SECRET.findall(shown)) != {made.secret}
    assert "For a day, messages are signed with the secret before this one too." in shown


def test_tests_are_sent_and_shown_and_sent_again(browser: Client, alice: User) -> None:
    hook = make(alice).hook
    page = f"/hooks/{hook.pk}/"

    browser.post(f"{page}test/")
    message = HookMessage.objects.get()
    HookMessage.objects.update(state="dead", attempts=10, status=500)
    dead = browser.get(page).content.decode()
    browser.post(f"/hooks/messages/{message.pk}/retry/")

    assert "test message" in dead
    assert "not delivered" in dead
    assert "answered 500" in dead
    message.refresh_from_db()
    assert (message.state, message.attempts) == ("waiting", 0)


def test_a_hook_is_switched_off_and_on(browser: Client, alice: User) -> None:
    hook = make(alice).hook
    waiting = write_test(hook)

    browser.post(f"/hooks/{hook.pk}/stop/")
    off = browser.get(f"/hooks/{hook.pk}/").content.decode()
    refused = browser.post(f"/hooks/{hook.pk}/test/", follow=True).content.decode()
    retried = browser.post(f"/hooks/messages/{waiting.pk}/retry/", follow=True).content.decode()

    assert "It is switched off." in off
    for page in (refused, retried):
        assert "This web hook is switched off. Switch it on first." in page
    assert HookMessage.objects.get().state == "dead"
    browser.post(f"/hooks/{hook.pk}/start/")
    assert not Hook.objects.get().is_stopped


def test_a_hook_is_deleted_with_its_messages(browser: Client, alice: User) -> None:
    hook = make(alice).hook
    write_test(hook)

    browser.post(f"/hooks/{hook.pk}/remove/")

    assert Hook.objects.count() == HookMessage.objects.count() == 0


def test_the_list_and_a_hooks_page_cost_the_same_for_many(
    browser: Client, alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def statements(page: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert browser.get(page).status_code == 200
        return len(captured)

    hook = make(alice).hook
    write_test(hook)
    before = [statements(page) for page in ("/hooks/", f"/hooks/{hook.pk}/")]
    for _number in range(5):
        make(alice)
        write_test(hook)

    assert [statements(page) for page in ("/hooks/", f"/hooks/{hook.pk}/")] == before


def test_a_long_history_has_pages(browser: Client, alice: User) -> None:
    hook = make(alice).hook
    for _number in range(30):
        write_test(hook)

    first = browser.get(f"/hooks/{hook.pk}/").content.decode()
    cursor = re.search(r"\?cursor=([\w-]+)", first)
    assert cursor
    second = browser.get(f"/hooks/{hook.pk}/?cursor={cursor[1]}").content.decode()

    assert first.count("<strong>test message</strong>") == 25
    assert second.count("<strong>test message</strong>") == 5


def test_the_download_names_the_hooks_without_their_secrets(browser: Client, alice: User) -> None:
    made = make(alice)

    (hook,) = browser.get("/account/everything.json").json()["web_hooks"]

    assert hook["url"] == made.hook.url
    assert made.secret not in str(hook)


@pytest.mark.parametrize(
    ("status", "problem", "said"),
    [
        (200, "", "answered 200"),
        (500, "", "answered 500"),
        (302, "", "answered 302; redirects are not followed"),
        (None, "timeout", "it did not answer within 10 seconds"),
        (None, "address", "it is in a network to which nothing is sent"),
        (None, "secret", "the secret can no longer be read: make a new one"),
        # What the system says, which nobody has to know.
        (None, "RemoteDisconnected", "the connection failed"),
    ],
)
def test_what_became_of_a_message_is_told_in_words(
    browser: Client, alice: User, status: int | None, problem: str, said: str
) -> None:
    hook = make(alice).hook
    write_test(hook)
    HookMessage.objects.update(status=status, problem=problem, attempts=1)

    page = browser.get(f"/hooks/{hook.pk}/").content.decode()

    assert f"<span>{said}</span>" in page


def test_of_a_message_that_was_not_tried_nothing_is_told(alice: User) -> None:
    hook = make(alice).hook

    assert write_test(hook).outcome == ""
