"""Sending: signatures, tries, limits, and where a message never goes."""

import gzip
import json
import logging
import socket
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings
from standardwebhooks import WebhookVerificationError

from accounts.models import User
from aliases.issuing import issue
from core import tallies
from core.ratelimit import Counter, Limit, count_within
from core.tallies import Sums, Tally
from hooks import sending
from hooks.courier import Courier
from hooks.messages import write_test
from hooks.models import WAITS, Hook, HookMessage, Stopped
from hooks.sending import LEASE, PER_MINUTE, REST_MAX, Outcome, record, send, take
from hooks.turns import PER_OWNER
from tests.rig.at_once import all_at_once
from tests.rig.hooking import Made, deliver, make
from tests.rig.nameserver import Nameserver
from tests.rig.receiver import HOST, Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def only() -> HookMessage:
    return HookMessage.objects.get()


def test_a_message_arrives_once_and_the_reference_implementation_accepts_it(
    alice: User, made: Made, receiver: Receiver
) -> None:
    alias = issue(owner=alice)

    deliver()
    deliver()

    (received,) = receiver.got
    assert received.verified(made.secret)["data"]["alias"]["address"] == alias.address
    assert received.headers["content-type"] == "application/json"
    assert received.path == "/anonmail?key=s3cr3t-of-the-url"
    assert (only().state, only().status, only().attempts) == ("delivered", 204, 1)


def test_a_forged_or_changed_message_is_not_accepted(made: Made, receiver: Receiver) -> None:
    write_test(made.hook)
    deliver()
    (received,) = receiver.got

    received.body += b" "
    with pytest.raises(WebhookVerificationError):
        received.verified(made.secret)
    received.body = received.body[:-1]
    assert received.verified(made.secret)["type"] == "hook.test"
    with pytest.raises(WebhookVerificationError):
        received.verified(make(None).secret)


def test_a_replay_is_too_old_and_a_new_try_is_not(made: Made, receiver: Receiver) -> None:
    receiver.answers = [500]
    write_test(made.hook)
    deliver()

    with time_machine.travel(timezone.now() + timedelta(minutes=10)):
        deliver()
        first, second = receiver.got
        with pytest.raises(WebhookVerificationError, match="too old"):
            first.verified(made.secret)
        assert second.verified(made.secret)
    assert (first.id, first.body) == (second.id, second.body)
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_after_a_new_secret_both_are_good_for_a_day(made: Made, receiver: Receiver) -> None:
    new = made.hook.renew_secret()
    write_test(made.hook)
    deliver()
    with time_machine.travel(timezone.now() + timedelta(days=1, minutes=1)):
        write_test(made.hook)
        deliver()
        during, after = receiver.got
        assert after.verified(new)
        with pytest.raises(WebhookVerificationError):
            after.verified(made.secret)

    assert during.verified(new)
    assert during.verified(made.secret)


def test_failed_tries_wait_longer_and_longer_and_end_after_a_day(
    alice: User, made: Made, receiver: Receiver
) -> None:
    receiver.answers = [500, 404, 301, 503] * 5
    write_test(made.hook)
    start = now = timezone.now()
    waits = []
    with time_machine.travel(now, tick=False) as clock:
        while True:
            deliver()
            message = HookMessage.objects.get()
            if message.attempts == len(WAITS):
                break
            waits.append(message.due_at - now)
            clock.move_to(message.due_at - timedelta(seconds=1))
            assert deliver() == []
            now = message.due_at
            clock.move_to(now)
        waits.append(message.due_at - now)
        now = message.due_at
        clock.move_to(now)
        other = write_test(made.hook)
        deliver()
        message.refresh_from_db()
        assert message.state == "dead"
        assert len(receiver.got) == len(WAITS) + 1
        for wait, least in zip(waits, WAITS, strict=True):
            assert least <= wait <= least * 1.1
        assert timedelta(hours=22) < now - start < timedelta(hours=27)
        assert len({received.id for received in receiver.got}) == 1

        # The hook is stopped with all that waits, and its owner hears of it once.
        hook = Hook.objects.get()
        assert (hook.is_stopped, hook.stopped_because) == (True, "failed")
        other.refresh_from_db()
        assert other.state == "dead"
        call_command("report_stopped_hooks")
        call_command("report_stopped_hooks")
    (notice,) = mail.outbox
    assert notice.to == [alice.email]
    assert HOST in notice.subject
    assert f"/hooks/{hook.pk}/" in notice.body
    assert "s3cr3t" not in notice.body + notice.subject
    assert issue(owner=alice)
    assert HookMessage.objects.count() == 2

    receiver.answers = []
    hook.start()
    message.refresh_from_db()
    message.hook.refresh_from_db()
    message.retry()
    deliver()
    message.refresh_from_db()
    assert message.state == "delivered"


def test_the_admins_hear_of_a_stopped_hook_of_the_installation(root: User, receiver: Receiver) -> None:
    hook = make(None, receiver.url).hook
    receiver.answers = [410]
    write_test(hook)
    deliver()

    call_command("report_stopped_hooks")

    (notice,) = mail.outbox
    assert notice.to == [root.email]
    assert f"/admin/hooks/hook/{hook.pk}/change/" in notice.body


def test_a_server_that_says_that_it_is_gone_is_asked_no_more(made: Made, receiver: Receiver) -> None:
    receiver.answers = [410]
    write_test(made.hook)

    deliver()
    deliver()

    assert len(receiver.got) == 1
    assert Hook.objects.get().stopped_because == Stopped.GONE


def test_a_redirect_is_not_followed(made: Made, receiver: Receiver) -> None:
    receiver.answers = [302, 307]
    write_test(made.hook)

    ((_message, outcome),) = deliver()

    assert outcome == Outcome(302)
    assert not outcome.is_delivered
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "address",
    [
        "A 127.0.0.1", "A 10.0.0.1", "A 192.168.1.1", "A 169.254.169.254", "A 100.64.0.1", "A 0.0.0.0",
        "AAAA ::1", "AAAA fe80::1", "AAAA fd00::1", "AAAA ::ffff:127.0.0.1", "AAAA 64:ff9b::7f00:1",
    ],
)  # fmt: skip
def test_no_message_goes_into_a_private_network(
    alice: User, receiver: Receiver, names: Nameserver, settings: Settings, address: str
) -> None:
    """A name may lead elsewhere once its URL was accepted (DNS rebinding): each message asks anew."""
    settings.WEBHOOK_PRIVATE_NETWORKS = False
    names.set(HOST, "A 93.184.215.14")
    hook = make(alice, receiver.url).hook
    names.set(HOST, address)
    write_test(hook)

    ((_message, outcome),) = deliver()

    assert outcome == Outcome(None, "address")
    assert receiver.got == []


@pytest.mark.parametrize("address", ["A 169.254.169.254", "AAAA fe80::1", "AAAA fd00:ec2::254"])
def test_metadata_services_are_out_of_reach_even_if_private_networks_are_allowed(
    made: Made, receiver: Receiver, names: Nameserver, address: str
) -> None:
    names.set(HOST, address)
    write_test(made.hook)

    ((_message, outcome),) = deliver()

    assert outcome == Outcome(None, "address")


def test_one_name_is_resolved_once_for_a_message(made: Made, receiver: Receiver, names: Nameserver) -> None:
    write_test(made.hook)
    names.asked.clear()

    deliver()

    assert sorted(names.asked) == [(HOST, "A"), (HOST, "AAAA")]


def test_a_certificate_for_another_name_is_not_trusted(
    alice: User, receiver: Receiver, names: Nameserver
) -> None:
    names.set("other.example.net", "A 127.0.0.1")
    write_test(make(alice, receiver.url.replace(HOST, "other.example.net")).hook)

    ((_message, outcome),) = deliver()

    assert outcome == Outcome(None, "certificate")
    assert receiver.got == []


def test_an_answer_that_drips_ends_with_the_time(
    made: Made, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SECONDS", 0.6)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        for letter in b"HTTP/1.1 200 OK and so on, without an end" * 10:
            time.sleep(0.1)
            handler.wfile.write(bytes([letter]))
            handler.wfile.flush()

    receiver.before = drip
    write_test(made.hook)
    begun = time.monotonic()

    ((_message, outcome),) = deliver()

    assert outcome == Outcome(None, "timeout")
    # All of it would take forty seconds.
    assert time.monotonic() - begun < 20


def test_of_a_huge_answer_little_is_read_and_nothing_unpacked(made: Made, receiver: Receiver) -> None:
    bomb = gzip.compress(b"\0" * 20_000_000)

    def explode(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (len(bomb) * 1000)
        )
        handler.wfile.write(bomb)

    receiver.before = explode
    write_test(made.hook)

    ((_message, outcome),) = deliver()

    assert outcome.status == 200


def test_an_answer_counts_though_its_content_never_ends(
    made: Made, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SECONDS", 60)
    is_counted = threading.Event()

    def go_on(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        handler.wfile.flush()
        is_counted.wait(60)

    receiver.before = go_on
    write_test(made.hook)
    begun = time.monotonic()

    ((_message, outcome),) = deliver()
    took = time.monotonic() - begun
    is_counted.set()

    assert outcome == Outcome(200)
    assert took < 30


def test_authorities_that_cannot_be_read_are_a_failed_try(made: Made, settings: Settings) -> None:
    settings.WEBHOOK_CA = "/nowhere.pem"
    write_test(made.hook)

    ((_message, outcome),) = deliver()

    assert outcome == Outcome(None, "authorities")
    assert only().state == "waiting"


def test_what_is_no_http_is_a_failure(made: Made, receiver: Receiver) -> None:
    receiver.before = lambda handler: handler.wfile.write(b"220 mx.example.net ESMTP\r\n")
    write_test(made.hook)

    ((_message, outcome),) = deliver()

    assert outcome.status is None
    assert outcome.problem
    assert only().state == "waiting"


def test_a_hook_gets_so_many_messages_a_minute(made: Made, receiver: Receiver) -> None:
    for _number in range(PER_MINUTE + 3):
        write_test(made.hook)
    with time_machine.travel(timezone.now(), tick=False) as clock:
        Counter.objects.all().delete()
        while deliver():
            pass
        assert len(receiver.got) == PER_MINUTE
        clock.shift(timedelta(seconds=61))
        while deliver():
            pass

    assert len(receiver.got) == PER_MINUTE + 3


def test_a_hook_with_a_thousand_messages_holds_up_nobody(
    made: Made, mallory: User, receiver: Receiver
) -> None:
    theirs = make(mallory, receiver.url).hook
    HookMessage.objects.bulk_create(
        HookMessage(hook=theirs, event="hook.test", body="{}") for _number in range(1000)
    )
    write_test(made.hook)

    first = {message.hook_id for message in take(4)}
    second = {message.hook_id for message in take(4, busy={theirs.pk: mallory.pk})}

    assert first | second == {theirs.pk, made.hook.pk}


def backlog(hook: Hook, number: int) -> None:
    """Messages that have waited for a minute."""
    since = timezone.now() - timedelta(minutes=1)
    HookMessage.objects.bulk_create(
        HookMessage(hook=hook, event="hook.test", body="{}", due_at=since) for _number in range(number)
    )


def begun_by(courier: Courier, monkeypatch: pytest.MonkeyPatch) -> list[HookMessage]:
    """What the courier begins to send from now on, and never ends."""
    begun: list[HookMessage] = []
    monkeypatch.setattr(courier._pool, "submit", lambda _deliver, message: begun.append(message))
    return begun


def test_the_slow_servers_of_one_person_leave_room_for_others(
    made: Made, mallory: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _number in range(4):
        backlog(make(mallory).hook, 250)
    write_test(made.hook)
    courier = Courier()
    begun = begun_by(courier, monkeypatch)

    for _look in range(6):
        courier.look()

    assert sorted(message.hook.owner_id or 0 for message in begun) == sorted(
        [mallory.pk] * PER_OWNER + [made.hook.owner_id or 0]
    )


def test_each_hook_has_its_turn_before_another_has_two(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = [make(None).hook for _number in range(6)]
    for hook in hooks[1:]:
        backlog(hook, 3)
    write_test(hooks[0])
    courier = Courier()
    begun = begun_by(courier, monkeypatch)

    for _look in range(2):
        courier.look()
        courier._busy.clear()

    assert {message.hook_id for message in begun} == {hook.pk for hook in hooks}


@pytest.fixture
def unreachable(alice: User, receiver: Receiver) -> Hook:
    """Alice's hook where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    return make(alice, f"https://{HOST}:{port}/").hook


def test_a_server_that_does_not_answer_is_tried_with_one_message(unreachable: Hook) -> None:
    for _number in range(20):
        write_test(unreachable)
    with time_machine.travel(timezone.now(), tick=False) as clock:
        tries = []
        for _look in range(11):
            tries.append(len(deliver()))
            clock.shift(timedelta(seconds=70))

    # The first one three times; then another one, or the first one again, when five minutes are over.
    assert tries[:8] == [1, 1, 1, 0, 0, 0, 0, 1]
    assert sum(tries) <= 5
    assert set(HookMessage.objects.values_list("state", flat=True)) == {"waiting"}


def test_one_message_that_a_server_cannot_bear_holds_up_the_others_for_minutes(
    made: Made, receiver: Receiver
) -> None:
    write_test(made.hook)
    HookMessage.objects.update(attempts=len(WAITS) - 1)
    (unbearable,) = take(1)
    write_test(made.hook)
    record(unbearable, Outcome(None, "timeout"))

    at_once = deliver()
    with time_machine.travel(timezone.now() + REST_MAX + timedelta(seconds=1)):
        later = deliver()
        unbearable.refresh_from_db()
        assert unbearable.due_at > timezone.now() + timedelta(hours=9)

    assert at_once == []
    assert [outcome.status for _message, outcome in later] == [204]


def test_a_server_that_answers_with_an_error_gets_the_next_message_at_once(
    made: Made, receiver: Receiver
) -> None:
    receiver.answers = [500]
    for _number in range(2):
        write_test(made.hook)

    outcomes = [outcome.status for _round in range(2) for _message, outcome in deliver()]

    assert outcomes == [500, 204]


@pytest.mark.postgresql
def test_two_workers_do_not_wait_for_each_other_with_a_hook_that_has_had_its_share(made: Made) -> None:
    limit = Limit("hook-messages", PER_MINUTE, timedelta(minutes=1), step=PER_MINUTE)
    count_within(limit, made.hook.pk)
    backlog(made.hook, 900)
    for _round in range(5):
        HookMessage.objects.update(due_at=timezone.now() - timedelta(minutes=1))

        assert all_at_once([lambda: take(4)] * 4) == [[]] * 4

    assert not HookMessage.objects.filter(due_at__lte=timezone.now()).exists()


@pytest.mark.postgresql
def test_of_two_workers_one_takes_a_message(made: Made) -> None:
    for _round in range(5):
        HookMessage.objects.all().delete()
        write_test(made.hook)

        taken = all_at_once([lambda: len(take(4))] * 4)

        assert sorted(taken) == [0, 0, 0, 1]


def test_a_worker_killed_before_it_has_recorded_sends_again_with_the_same_id(
    made: Made, receiver: Receiver
) -> None:
    write_test(made.hook)
    (lost,) = take(1)
    send(lost)

    assert take(1) == []
    with time_machine.travel(timezone.now() + LEASE + timedelta(seconds=1)):
        ((_again, outcome),) = deliver()

    assert outcome.is_delivered
    assert [received.id for received in receiver.got] == [lost.webhook_id] * 2
    # The one that was held up, and not killed, changes nothing any more.
    assert record(lost, Outcome(500)) is False
    assert only().state == "delivered"


def test_a_message_whose_time_a_wrong_clock_has_set_is_sent(made: Made, receiver: Receiver) -> None:
    receiver.answers = [500]
    with time_machine.travel(timezone.now() + timedelta(days=400)):
        write_test(made.hook)
        deliver()
    Counter.objects.all().delete()

    deliver()

    assert only().state == "delivered"


def test_nothing_is_sent_while_its_owner_is_inactive(
    alice: User, root: User, made: Made, receiver: Receiver
) -> None:
    write_test(made.hook)
    alice.deactivate()
    assert deliver() == []

    alice.activate()
    assert len(deliver()) == 1


def test_without_the_secret_key_nothing_is_sent(made: Made, receiver: Receiver) -> None:
    Hook.objects.update(sealed_secret="gone")
    write_test(made.hook)

    ((_message, outcome),) = deliver()

    assert outcome == Outcome(None, "secret")
    assert receiver.got == []


def test_a_new_secret_key_reseals_what_an_earlier_one_has_sealed(
    made: Made, settings: Settings, receiver: Receiver
) -> None:
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "n" * 50
    write_test(made.hook)
    deliver()
    assert receiver.got[0].verified(made.secret)

    call_command("reseal_hook_secrets")
    settings.SECRET_KEY_FALLBACKS = []
    write_test(made.hook)
    deliver()

    assert receiver.got[1].verified(made.secret)


def test_neither_secret_nor_url_nor_address_is_logged(
    alice: User, made: Made, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [500, 410]
    alias = issue(owner=alice)
    with caplog.at_level(logging.DEBUG):
        courier = Courier()
        assert courier.look() == 1
        courier.close()
        HookMessage.objects.update(due_at=timezone.now())
        deliver()

    assert f"hook {made.hook.pk} message {only().pk}: 500" in caplog.text
    for secret in (made.secret, "s3cr3t", alias.address, HOST, alice.email, json.loads(only().body)["type"]):
        assert secret not in caplog.text


def test_an_idle_look_is_one_statement_that_changes_nothing(
    made: Made, django_assert_num_queries: Any
) -> None:
    """SQLite has one lock for all who write."""
    with django_assert_num_queries(1) as captured:
        assert take(4) == []

    assert captured.captured_queries[0]["sql"].startswith("SELECT")


@pytest.mark.postgresql
def test_a_courier_sends_to_several_at_once_and_says_when_one_was_stopped(
    alice: User, mallory: User, made: Made, receiver: Receiver
) -> None:
    receiver.answers = [410, 410]
    for hook in (made.hook, make(mallory, receiver.url).hook):
        write_test(hook)
    courier = Courier()

    assert courier.look() == 2
    courier.close()

    assert courier.hooks_stopped.is_set()
    assert set(HookMessage.objects.values_list("state", flat=True)) == {"dead"}


def test_tries_are_counted_and_timed_for_monitoring(
    made: Made, receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.METRICS_TOKEN = "t" * 40
    monkeypatch.setattr(tallies, "start", lambda write: None)
    monkeypatch.setattr(tallies, "_sums", Sums())
    receiver.answers = [500, 204, 410]
    for _number in range(3):
        write_test(made.hook)
        while deliver():
            pass
    tallies._sums.write()

    found = {
        (each.labels, each.bucket): each.value
        for each in Tally.objects.filter(name__in=["hook_messages", "hook_request_seconds"])
        if each.name == "hook_messages" or each.bucket == ""
    }
    assert Tally.objects.filter(name="hook_request_seconds", bucket="").count() == 2
    assert [found["delivered", ""] > 0, found["failed", ""] > 0, found["dead", ""]] == [True, True, 1]
