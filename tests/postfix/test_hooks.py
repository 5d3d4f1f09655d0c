"""What web hooks tell of real mail, in both designs: a real Postfix, and a receiver over TLS that checks each
signature with the reference implementation of Standard Webhooks."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.ending import set_expiry
from aliases.models import Alias
from aliases.spaces import give, switch
from domains.models import Domain
from hooks.courier import Courier
from hooks.models import Hook, HookMessage
from hooks.sending import WAITS
from mail.delivery.resolve import our_domains
from mail.models import Bounce
from tests.conftest import forwards_as_it_came
from tests.postfix.conftest import Site
from tests.postfix.sender import send
from tests.rig.hooking import make
from tests.rig.mail_process import is_soon
from tests.rig.nameserver import nameserver
from tests.rig.receiver import HOST, Received, Receiver, receiving
from tests.rig.ruling import rule

FRONT = "mx.example.com"
SECRETS = ("eve", "shop.biz secret", "Mailbox unknown here", "spam")
Names = Any


@pytest.fixture
def dora(example_com: Domain) -> User:
    """Somebody whose own mailbox is elsewhere, and whose names at example.com end in ".dora"."""
    dora = forwards_as_it_came(User.objects.create_user("dora@home.test", "dora-password-12"))
    example_com.grant(dora)
    switch(give(domain=example_com, owner=dora, suffix="dora"), True)
    our_domains.forget()
    return dora


@pytest.fixture
def names(settings: Settings) -> Names:
    settings.WEBHOOK_PRIVATE_NETWORKS = True
    settings.MAIL_AUTHSERV_IDS = [FRONT]
    with nameserver({HOST: ["A 127.0.0.1"]}) as server:
        settings.DNS_RESOLVERS = [f"127.0.0.1:{server.port}"]
        yield server


def sent_by_a_worker() -> None:
    """A worker's threads send what is due."""
    courier = Courier()
    try:
        while courier.look():
            # One message to a hook at once: as long as it is underway, the next one waits.
            assert is_soon(lambda: not courier._busy, 20)
    finally:
        courier.close()


def told(receiver: Receiver, secret: str) -> list[dict[str, Any]]:
    """What has come since the last call. Each was signed, and for the first time."""
    sent_by_a_worker()
    got, receiver.got = receiver.got, []
    return [checked(each, secret) for each in got]


def checked(received: Received, secret: str) -> dict[str, Any]:
    """The message, whose signature the reference implementation accepts, and which has nothing of a mail."""
    assert received.headers["content-type"] == "application/json"
    message: dict[str, Any] = received.verified(secret)
    assert not [word for word in SECRETS if word.lower() in received.body.decode().lower()]
    return message


def mail(
    subject: str, author: str = "win@stranger.biz", found: str = "dkim=pass header.d=stranger.biz"
) -> bytes:
    return (
        f"Authentication-Results: {FRONT}; {found}\r\nFrom: Eve <{author}>\r\nTo: you\r\n"
        f"Subject: {subject}\r\nMessage-ID: <{time.monotonic_ns()}@test>\r\n\r\nshop.biz secret\r\n"
    ).encode()


def test_what_becomes_of_an_alias_and_its_mail_is_told_signed_and_without_anything_of_the_mail(
    dora: User, site: Site, names: Names, settings: Settings, tmp_path: Path
) -> None:
    with receiving(tmp_path) as receiver:
        settings.WEBHOOK_CA = receiver.authorities
        secret = make(dora, receiver.url).secret

        # Mail makes the alias.
        assert send(site, "shop.dora@example.com").codes == ["250"]
        site.postfix.wait_until_idle()
        alias = Alias.objects.get()
        named = {"id": alias.pk, "uuid": str(alias.uuid), "address": "shop.dora@example.com"}
        (created,) = told(receiver, secret)
        assert (created["type"], created["data"]) == ("alias.created", {"alias": named})

        # A sender that is not the website's, which has signed: once, whatever more comes.
        alias.edit(hostname="www.shop.com")
        for _each in range(2):
            send(site, alias.address, content=mail("Hi"), sender="b@stranger.biz")
            site.postfix.wait_until_idle()
        (new,) = told(receiver, secret)
        assert (new["type"], new["data"]) == (
            "sender.new",
            {"alias": named, "sender": {"domain": "stranger.biz", "verified": True}},
        )

        # The mailbox is gone: the far end refuses, and Postfix returns it to us.
        site.sink.refusals["dora@home.test"] = "550 5.1.1 Mailbox unknown here"
        send(site, alias.address, content=mail("Once more"), sender="b@stranger.biz")
        assert is_soon(Bounce.objects.exists, 30)
        site.postfix.wait_until_idle()
        site.sink.refusals.clear()
        (failed,) = told(receiver, secret)
        destination = alias.destination_addresses[0]
        assert (failed["type"], failed["data"]) == (
            "delivery.failed",
            {
                "alias": named,
                "failure": {"kind": "forward", "destination": {"id": destination.pk}, "status": "5.1.1"},
            },
        )

        # A rule disables it.
        rule(dora, disables=True)
        send(site, alias.address, content=mail("spam"), sender="b@stranger.biz")
        site.postfix.wait_until_idle()
        alias.refresh_from_db()
        assert not alias.enabled
        (disabled,) = told(receiver, secret)
        assert (disabled["type"], disabled["data"]) == ("alias.disabled", {"alias": named})

        # It expires, which is its end and not that somebody has disabled it.
        alias.enable()
        soon = timezone.now() + timedelta(hours=1)
        set_expiry(alias, expires_at=soon, idle_days=None, unused_days=None)
        with time_machine.travel(soon + timedelta(minutes=1)):
            call_command("expire_aliases")
            (ended,) = told(receiver, secret)
        assert (ended["type"], ended["data"]) == ("alias.ended", {"alias": named})

        assert send(site, alias.address).codes == ["550"]
        assert told(receiver, secret) == []
    assert set(HookMessage.objects.values_list("state", "attempts")) == {("delivered", 1)}


def test_what_happens_while_the_receiver_is_down_is_told_when_it_is_back(
    dora: User, site: Site, names: Names, settings: Settings, tmp_path: Path
) -> None:
    with receiving(tmp_path) as receiver:
        secret = make(dora, receiver.url).secret
        settings.WEBHOOK_CA = receiver.authorities

    for name in ("shop", "bank"):
        # Mail is delivered as ever.
        assert send(site, f"{name}.dora@example.com").codes == ["250"]
    site.postfix.wait_until_idle()
    sent_by_a_worker()
    assert [each.recipient for each in site.sink.arrived] == ["dora@home.test"] * 2
    # One try, as nobody answers; the other message waits for its outcome.
    waiting = HookMessage.objects.order_by("attempts").values_list("state", "attempts", "status")
    assert list(waiting) == [("waiting", 0, None), ("waiting", 1, None)]
    assert not receiver.got

    with receiving(tmp_path, receiver.port) as back:
        # It is not asked before its time.
        sent_by_a_worker()
        assert not back.got
        with time_machine.travel(timezone.now() + WAITS[0] * 1.2):
            # It overlooks the first one, which so comes once more, with the same id.
            back.answers = [503]
            messages = told(back, secret)
        with time_machine.travel(timezone.now() + 2 * WAITS[1]):
            again = told(back, secret)

    addresses = {message["data"]["alias"]["address"] for message in messages}
    assert addresses == {"shop.dora@example.com", "bank.dora@example.com"}
    assert again == messages[:1]
    assert set(HookMessage.objects.values_list("state", flat=True)) == {"delivered"}
    assert sum(HookMessage.objects.values_list("attempts", flat=True)) == 4


def test_after_a_day_the_hook_is_stopped_and_the_notice_arrives_in_its_owners_mailbox(
    dora: User, site: Site, names: Names, settings: Settings, tmp_path: Path
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", site.ports.reinjection
    with receiving(tmp_path) as receiver:
        settings.WEBHOOK_CA = receiver.authorities
        made = make(dora, receiver.url)
    send(site, "shop.dora@example.com")
    site.postfix.wait_until_idle()

    moment = start = timezone.now()
    for tries in range(1, len(WAITS) + 2):
        with time_machine.travel(moment):
            sent_by_a_worker()
        message = HookMessage.objects.get()
        assert message.attempts == tries
        moment = message.due_at

    assert timedelta(hours=22) < message.tried_at - start < timedelta(hours=27)  # type: ignore[operator]
    assert (message.state, Hook.objects.get().stopped_because) == ("dead", "failed")
    call_command("report_stopped_hooks")
    call_command("report_stopped_hooks")
    site.postfix.wait_until_idle()
    forwarded, notice = site.sink.arrived
    assert (forwarded.recipient, notice.recipient) == ("dora@home.test", "dora@home.test")
    text = notice.content.decode()
    assert HOST in text
    assert f"/hooks/{made.hook.pk}/" in text
    assert "s3cr3t" not in text

    # Whatever happens now is not told, not even later; what was not delivered is, when its owner wants it.
    send(site, "bank.dora@example.com")
    site.postfix.wait_until_idle()
    with receiving(tmp_path, receiver.port) as back:
        Hook.objects.get().start()
        HookMessage.objects.select_related("hook").get().retry()
        (late,) = told(back, made.secret)
    assert late["data"]["alias"]["address"] == "shop.dora@example.com"
