"""The installation's hooks, in Django admin."""

import re

import pytest
from django.test import Client

from accounts.models import User
from core.audit import AuditEntry
from hooks.messages import write_test
from hooks.models import Hook, HookMessage
from tests.rig.hooking import make

pytestmark = pytest.mark.django_db

NEW = {"url": "https://hooks.example.net/x?key=1", "events": ["alias.created"]}
LIST = "/admin/hooks/hook/"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")


def act(boss: Client, action: str, *hooks: Hook) -> str:
    chosen = {"action": action, "_selected_action": [hook.pk for hook in hooks]}
    return boss.post(LIST, chosen, follow=True).content.decode()


def test_an_admin_makes_a_hook_of_the_installation_and_sees_its_secret_once(boss: Client) -> None:
    answer = boss.post(f"{LIST}add/", NEW)

    hook = Hook.objects.get()
    assert hook.owner is None
    assert (hook.url, hook.events) == (NEW["url"], "alias.created")
    assert SECRET.search(answer.content.decode())
    assert "no-store" in answer["Cache-Control"]
    for page in (LIST, f"{LIST}{hook.pk}/change/"):
        assert not SECRET.search(boss.get(page).content.decode())
    entry = AuditEntry.objects.get(action="hook.add")
    assert "key=1" not in f"{entry.subject} {entry.detail}"


@pytest.mark.parametrize("url", ["http://x.test/", "https://user@x.test/", "https://x.test:22/"])
def test_the_same_urls_are_refused_as_on_the_pages(boss: Client, url: str) -> None:
    answer = boss.post(f"{LIST}add/", NEW | {"url": url})

    assert "This is no URL to which Anonmail sends." in answer.content.decode()
    assert Hook.objects.count() == 0


def test_an_admin_changes_a_hook(boss: Client) -> None:
    hook = make(None).hook
    sealed = hook.sealed_secret

    boss.post(f"{LIST}{hook.pk}/change/", {"url": "https://other.test/", "events": ["alias.ended"]})

    hook.refresh_from_db()
    assert (hook.url, hook.events, hook.sealed_secret) == ("https://other.test/", "alias.ended", sealed)


def test_peoples_own_hooks_are_not_shown(boss: Client, alice: User) -> None:
    own = make(alice, "https://own.test/").hook
    message = write_test(own)

    assert "own.test" not in boss.get(LIST).content.decode()
    for page in (f"{LIST}{own.pk}/change/", f"/admin/hooks/hookmessage/{message.pk}/change/"):
        assert boss.get(page).status_code == 302
    act(boss, "switch_off", own)
    own.refresh_from_db()
    assert not own.is_stopped


def test_a_new_secret_is_shown_once_and_for_one_hook(boss: Client) -> None:
    one, two = make(None), make(None)

    both = act(boss, "renew_secret", one.hook, two.hook)
    shown = act(boss, "renew_secret", one.hook)

    assert "Select one web hook." in both
    (secret,) = set(SECRET.findall(shown))
    assert secret not in {one.secret, two.secret}
    assert AuditEntry.objects.filter(action="hook.renew_secret").count() == 1


def test_hooks_are_tried_and_switched(boss: Client) -> None:
    hook = make(None).hook

    act(boss, "test", hook)
    assert HookMessage.objects.get().event == "hook.test"
    act(boss, "switch_off", hook)
    assert Hook.objects.get().is_stopped
    assert "switched off. Switch it on first." in act(boss, "test", hook)
    act(boss, "switch_on", hook)
    assert not Hook.objects.get().is_stopped


def test_a_hook_is_deleted_with_its_messages(boss: Client) -> None:
    hook = make(None).hook
    write_test(hook)

    asked = boss.get(f"{LIST}{hook.pk}/delete/").content.decode()
    boss.post(f"{LIST}{hook.pk}/delete/", {"post": "yes"})

    assert "Are you sure" in asked
    assert Hook.objects.count() == HookMessage.objects.count() == 0
    assert AuditEntry.objects.get(action="hook.delete").subject == "hooks.example.net"


def test_a_message_is_sent_again(boss: Client) -> None:
    message = write_test(make(None).hook)
    HookMessage.objects.update(state="dead", attempts=10)

    boss.post("/admin/hooks/hookmessage/", {"action": "retry", "_selected_action": [message.pk]})

    message.refresh_from_db()
    assert (message.state, message.attempts) == ("waiting", 0)
