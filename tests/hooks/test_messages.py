"""What hooks are told, and whose."""

import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.deletion import close_account
from accounts.models import User
from aliases.ending import expire, set_expiry, warn
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias, SenderAnswer, SenderDomain
from contacts.senders import answer
from domains.models import Domain
from hooks import messages
from hooks.models import Hook, HookMessage, Stopped
from hooks.sending import prune
from mail.delivery.bounce import count_returned
from mail.delivery.report import Report
from mail.delivery.return_path import Tag
from mail.delivery.senders import NotedSenders
from tests.rig.correspondents import contacts_for
from tests.rig.hooking import make

pytestmark = pytest.mark.django_db(transaction=True)


def told(hook: Hook) -> list[dict[str, Any]]:
    """The messages to this hook, in their order."""
    return [json.loads(body) for body in hook.messages.order_by("pk").values_list("body", flat=True)]


def types(hook: Hook) -> list[str]:
    return [message["type"] for message in told(hook)]


@pytest.fixture
def hook(alice: User) -> Hook:
    return make(alice).hook


def test_a_new_alias_is_told_with_what_names_it_and_nothing_else(alice: User, hook: Hook) -> None:
    alias = issue(owner=alice, hostname="github.com", note="what I bought there")

    (message,) = told(hook)

    assert message == {
        "type": "alias.created",
        "timestamp": message["timestamp"],
        "data": {"alias": {"id": alias.pk, "uuid": str(alias.uuid), "address": alias.address}},
    }
    assert message["timestamp"].endswith("Z")


def test_an_alias_with_a_chosen_name_is_told_too(alice: User, hook: Hook, example_com: Domain) -> None:
    example_com.is_shared = False
    example_com.save()

    issue_chosen(owner=alice, prefix="shop", destinations=["alice@example.com"])

    assert types(hook) == ["alias.created"]


def test_what_is_rolled_back_is_never_told(alice: User, hook: Hook) -> None:
    with transaction.atomic():
        issue(owner=alice)
        transaction.set_rollback(True)

    assert told(hook) == []


def test_everybody_is_told_of_their_own_and_the_installation_of_all(
    alice: User, mallory: User, example_com: Domain, hook: Hook
) -> None:
    theirs, all_of_it = make(mallory).hook, make(None).hook
    example_com.grant(mallory)

    issue(owner=alice)
    issue(owner=mallory)

    assert len(told(hook)) == len(told(theirs)) == 1
    assert "owner" not in told(hook)[0]["data"]
    assert [each["data"]["owner"] for each in told(all_of_it)] == [{"id": alice.pk}, {"id": mallory.pk}]


def test_a_hook_hears_only_of_what_it_asks_for(alice: User) -> None:
    one = make(alice, "https://hooks.example.net/x", "alias.disabled").hook

    issue(owner=alice).disable()

    assert types(one) == ["alias.disabled"]


def test_each_way_to_disable_an_alias_is_told_once(alice: User, hook: Hook, browser: Client) -> None:
    aliases = [issue(owner=alice, hostname="shop.example") for _number in range(5)]
    HookMessage.objects.all().delete()
    sender = SenderDomain.objects.create(alias=aliases[2], domain="stranger.biz")

    aliases[0].disable()
    aliases[0].disable()
    assert aliases[1].toggle() is False
    assert aliases[1].toggle() is True
    assert aliases[1].enabled
    answer(sender, SenderAnswer.DISABLE)
    browser.post("/aliases/bulk/", {"action": "disable", "selected": [aliases[3].pk, aliases[0].pk]})
    browser.post(f"/aliases/{aliases[4].pk}/disable/")

    disabled = [message["data"]["alias"]["id"] for message in told(hook)]
    assert types(hook) == ["alias.disabled"] * 5
    assert disabled == [aliases[number].pk for number in (0, 1, 2, 3, 4)]
    assert Alias.objects.filter(enabled=True).get() == aliases[1]


def test_without_hooks_disabling_is_one_statement(
    alice: User, mallory: User, django_assert_num_queries: Any
) -> None:
    make(mallory)
    alias = issue(owner=alice)

    with django_assert_num_queries(2):  # the update, and what it has led to
        assert alias.toggle() is False
    with django_assert_num_queries(1):  # the update
        alias.disable()
    with django_assert_num_queries(1):
        Alias.objects.disable_all([alias.pk])


def test_without_hooks_creating_costs_what_it_did(
    alice: User, mallory: User, django_assert_num_queries: Any
) -> None:
    """A stranger's hook changes nothing for alice."""

    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            issue(owner=User.objects.get(pk=alice.pk))
        return len(captured)

    issue(owner=alice)
    before = statements()
    make(mallory)

    assert statements() == before
    make(alice)
    assert statements() > before


def test_an_alias_that_expires_is_told_as_ended(alice: User, hook: Hook) -> None:
    alias = issue(owner=alice)
    HookMessage.objects.all().delete()
    set_expiry(alias, expires_at=timezone.now() + timedelta(days=8), idle_days=None, unused_days=None)
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        assert warn() == 1

    with time_machine.travel(timezone.now() + timedelta(days=10)):
        assert expire() == 1

    assert types(hook) == ["alias.ended"]
    assert told(hook)[0]["data"]["alias"]["address"] == alias.address


def test_a_new_sender_is_told_once_and_several_each(alice: User, hook: Hook) -> None:
    alias = issue(owner=alice, hostname="shop.example")
    HookMessage.objects.all().delete()

    for _process in range(2):
        noted = NotedSenders()
        with transaction.atomic():
            noted.note({(alias.pk, "stranger.biz"): False, (alias.pk, "mailer.net"): True})

    assert types(hook) == ["sender.new"] * 2
    assert [message["data"]["sender"] for message in told(hook)] == [
        {"domain": "mailer.net", "verified": True},
        {"domain": "stranger.biz", "verified": False},
    ]


def test_noting_a_sender_costs_two_statements_without_hooks(
    alice: User, mallory: User, django_assert_num_queries: Any
) -> None:
    make(mallory)
    alias = issue(owner=alice, hostname="shop.example")

    with transaction.atomic(), django_assert_num_queries(2):  # what is known; the new one
        NotedSenders().note({(alias.pk, "stranger.biz"): False})


def test_mail_that_comes_back_is_told_without_the_servers_words(alice: User, hook: Hook) -> None:
    alias = issue(owner=alice)
    HookMessage.objects.all().delete()
    destination = alias.destination_addresses[0]
    tag = Tag(alias.pk, destination.pk, message=7, day=1)

    for _time in range(2):
        count_returned(tag, Report("5.1.1", "no such alice@example.com here"), "bob@sender.test")

    (message,) = told(hook)
    assert message["type"] == "delivery.failed"
    assert message["data"]["failure"] == {
        "kind": "forward",
        "destination": {"id": destination.pk},
        "status": "5.1.1",
    }
    assert "sender.test" not in str(message)
    assert "no such" not in str(message)


def test_a_reply_that_comes_back_is_told(alice: User, hook: Hook) -> None:
    alias = issue(owner=alice)
    HookMessage.objects.all().delete()
    contact = contacts_for(alias.pk, [("jane@shop.test", "Jane")])["jane@shop.test"]
    tag = Tag(alias.pk, None, message=7, day=1, contact_id=contact.contact_id)

    count_returned(tag, Report("", "words"))

    (message,) = told(hook)
    assert message["data"]["failure"] == {"kind": "reply", "destination": None, "status": None}
    assert "jane" not in str(message)


def test_a_stopped_hook_hears_nothing(alice: User, hook: Hook) -> None:
    hook.stop(Stopped.OWNER)

    issue(owner=alice)

    assert told(hook) == []


def test_so_many_events_leave_a_hook_some_out_and_say_so(
    alice: User, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "WAITING_MAX", 3)
    aliases = [issue(owner=alice) for _number in range(2)]

    Alias.objects.disable_all([alias.pk for alias in aliases])
    aliases[0].enable()
    aliases[0].disable()

    assert types(hook) == ["alias.created"] * 2 + ["alias.disabled"]
    hook.refresh_from_db()
    assert hook.missed == 2


def test_a_hook_that_goes_away_meanwhile_undoes_nothing(alice: User, hook: Hook) -> None:
    """PostgreSQL looks at constraints at the end: there is none that could fail."""
    with transaction.atomic():
        HookMessage.objects.create(hook_id=hook.pk + 1000, about=alice, event="alias.created", body="{}")

    assert prune() == 1
    assert HookMessage.objects.count() == 0


def test_old_messages_are_deleted(alice: User, hook: Hook) -> None:
    issue(owner=alice)
    with time_machine.travel(timezone.now() + timedelta(days=6)):
        assert prune() == 0
    with time_machine.travel(timezone.now() + timedelta(days=8)):
        assert prune() == 1


def test_an_account_takes_its_hooks_along_and_what_others_were_told_of_it(
    alice: User, root: User, hook: Hook
) -> None:
    all_of_it = make(None).hook
    issue(owner=alice)
    assert HookMessage.objects.count() == 2

    close_account(alice)

    assert Hook.objects.get() == all_of_it
    assert HookMessage.objects.count() == 0
