"""Mail in at the SMTP door, octets out at the next hop: what arrives, what is refused, what nobody learns."""

import asyncio
import smtplib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from mail.delivery.blocks import blocks
from mail.delivery.bounce import note_bounce, resume
from mail.delivery.handover import Message
from mail.delivery.next_hop import Accepted, Maildir, Outcome, Pending, Refused, SmtpHop, send_once
from mail.delivery.return_path import read_return_path
from mail.delivery.smtp_client import stuffed
from mail.models import Activity, Bounce, Delivery, PausedDestination
from tests.rig.mail_doors import Hop, running_doors
from tests.rig.mail_process import is_soon

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGE = b"From: Bob <bob@sender.test>\r\nTo: you\r\nSubject: Hi\r\n\r\nHello\r\n"
UNKNOWN = (550, b"5.1.1 User unknown")


@pytest.fixture
def hop() -> Hop:
    return Hop()


@contextmanager
def running_door(hop: Hop, settings: Settings, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a running SMTP door over that next hop."""
    settings.MAIL_POSTMASTER = "boss@boss.test"
    settings.MAIL_HOSTNAME = "mx.example.com"
    settings.MAIL_SIZE_LIMIT = 5_000_000
    with running_doors(hop, "smtp", tls=tls) as places:
        yield places["smtp"][1]


@pytest.fixture
def door(hop: Hop, settings: Settings) -> Iterator[int]:
    with running_door(hop, settings) as port:
        yield port


Send = Callable[..., tuple[int, bytes]]


@pytest.fixture
def send(door: int) -> Send:
    def deliver(
        *recipients: str,
        content: bytes = MESSAGE,
        sender: str = "bob@sender.test",
        options: tuple[str, ...] = (),
    ) -> tuple[int, bytes]:
        """One transaction; the answer to the first recipient that is refused, else to DATA."""
        with smtplib.SMTP("127.0.0.1", door, local_hostname="sender.test", timeout=20) as client:
            client.ehlo()
            code, answer = client.mail(sender, options)
            assert code == 250
            for recipient in recipients:
                code, answer = client.rcpt(recipient)
                if code != 250:
                    return code, answer
            return client.data(content)

    return deliver


def test_a_message_arrives_octet_for_octet_below_our_trace_fields(alice: User, send: Send, hop: Hop) -> None:
    alias = issue(owner=alice, hostname="shop.test")
    body = (
        b"Subject: \xc3\xbc 8-bit\r\nX-Odd:  two  spaces \r\n\tfolded\r\n\r\n.dot\r\n..\r\n"
        + b"x" * 2_000_000
    )
    content = body + b"\r\nend \t\r\n"

    assert send(alias.address, content=content, options=("BODY=8BITMIME",)) == (250, b"2.0.0 Accepted")

    ((sender, recipient, arrived),) = hop.sent
    assert recipient == "alice@example.com"
    assert arrived.endswith(content)
    added = arrived.removesuffix(content).decode("ascii")
    assert added.startswith("Received: from sender.test ([127.0.0.1]) by")
    assert f"X-Anonmail-Alias: {alias.address}\r\n" in added
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in added
    assert "alice@" not in added
    assert sender.startswith("b.")
    assert sender.endswith("@example.com")
    assert len(sender.partition("@")[0]) <= 64
    alias.refresh_from_db()
    assert (alias.forwards, alias.blocks) == (1, 0)
    assert alias.last_activity is not None
    activity = Activity.objects.get()
    assert (activity.alias, activity.event, activity.sender) == (alias, "forward", "bob@sender.test")


@pytest.mark.parametrize("write", [str.upper, lambda text: text.replace("@", "+Tag@"), str])
def test_case_and_tag_do_not_matter(alice: User, send: Send, hop: Hop, write: Callable[[str], str]) -> None:
    alias = issue(owner=alice)

    assert send(write(alias.address))[0] == 250
    assert len(hop.sent) == 1


def test_a_domain_may_come_in_either_form(root: User, send: Send, hop: Hop) -> None:
    Domain.objects.create(name="xn--bcher-kva.example", anonmail_enabled=True)
    alias = issue(owner=root)

    assert send(alias.address)[0] == 250
    assert send(str(alias), options=("SMTPUTF8",))[0] == 250


def test_blocked_and_unknown_are_told_in_the_same_words_and_blocks_are_counted(
    alice: User, root: User, send: Send, hop: Hop
) -> None:
    disabled, deleted, orphaned = (issue(owner=alice) for _ in range(3))
    disabled.disable()
    deleted.soft_delete()

    answers = {send(alias.address) for alias in (disabled, deleted)} | {send("nobody@example.com")}
    alice.deactivate()
    answers.add(send(orphaned.address))
    Alias.objects.filter(pk=deleted.pk).strip()
    answers.add(send(deleted.address))

    assert answers == {UNKNOWN}
    assert hop.sent == []
    blocks.write()
    assert [Alias.objects.get(pk=alias.pk).blocks for alias in (disabled, orphaned)] == [1, 1]


def test_switching_takes_effect_for_the_next_message(alice: User, send: Send, hop: Hop) -> None:
    alias = issue(owner=alice)
    codes = []
    for deed in (lambda: None, alias.disable, alias.enable, alias.soft_delete, alias.restore):
        deed()
        codes.append(send(alias.address)[0])
    example = alias.domain
    example.set_anonmail(False)
    codes.append(send(alias.address)[0])

    assert codes == [250, 550, 250, 550, 250, 250]
    assert len(hop.sent) == 4


def test_nothing_is_relayed(alice: User, send: Send, hop: Hop) -> None:
    assert send("bob@elsewhere.test") == (550, b"5.7.1 We do not relay")
    assert send("alice@example.com") == UNKNOWN
    assert hop.sent == []


def test_recipients_that_need_separate_answers_come_one_at_a_time(alice: User, send: Send, hop: Hop) -> None:
    one, two = issue(owner=alice), issue(owner=alice)
    tagged = one.address.replace("@", "+tag@")

    assert send(one.address, two.address)[0] == 452
    assert send(one.address, tagged)[0] == 250
    assert len(hop.sent) == 1


def test_each_destination_gets_its_own_copy_once(alice: User, send: Send, hop: Hop) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias = issue(owner=alice, destinations=["alice@example.com", "alice@home.test"])
    hop.answers["alice@home.test"] = Pending("down")

    first = send(alias.address)
    again = send(alias.address)
    del hop.answers["alice@home.test"]
    third = send(alias.address)

    assert (first[0], again[0], third[0]) == (451, 451, 250)
    assert [recipient for _sender, recipient, _message in hop.sent] == [
        "alice@example.com",
        "alice@home.test",
    ]
    senders = [sender for sender, _recipient, _message in hop.sent]
    local_part, _at, domain = senders[1].partition("@")
    tag = read_return_path(local_part, domain, timezone.now())
    assert tag is not None
    assert (tag.alias_id, tag.destination_id) == (alias.pk, home.pk)
    assert len(set(senders)) == 2
    alias.refresh_from_db()
    assert alias.forwards == 2


def test_an_acknowledged_message_may_be_sent_again(alice: User, send: Send, hop: Hop) -> None:
    alias = issue(owner=alice)

    assert [send(alias.address)[0] for _ in range(2)] == [250, 250]
    assert len(hop.sent) == 2
    # It is forgotten after the answer, which the sender waits for no longer.
    assert is_soon(lambda: not Delivery.objects.exists())


def test_the_sender_does_not_learn_the_destination_when_it_refuses(alice: User, send: Send, hop: Hop) -> None:
    alias = issue(owner=alice)
    hop.answers["alice@example.com"] = Refused("5.1.1")

    answer = send(alias.address)

    assert answer == (550, b"5.7.1 Message refused")
    assert Bounce.objects.get().is_no_mailbox
    assert Activity.objects.get().event == "bounce"
    alias.refresh_from_db()
    assert alias.forwards == 0


def test_while_the_database_is_away_the_sender_tries_again(
    alice: User, send: Send, hop: Hop, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias = issue(owner=alice)

    def away(*args: object, **kwargs: object) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr("mail.delivery.resolve._FIND", away)
        assert send(alias.address)[0] == 451
    with monkeypatch.context() as patch:
        patch.setattr("mail.delivery.lookups._COPIES", away)
        assert send(alias.address)[0] == 451
    assert hop.sent == []
    assert send(alias.address)[0] == 250


def test_a_loop_ends(alice: User, send: Send, hop: Hop) -> None:
    alias, other = issue(owner=alice), issue(owner=alice)
    send(alias.address)
    once = hop.sent[0][2]

    assert send(alias.address, content=once) == (554, b"5.4.6 Routing loop detected")
    assert send(other.address, content=once)[0] == 250
    assert send(alias.address, content=b"Received: x\r\n" * 111 + MESSAGE)[0] == 554
    assert send(alias.address, content=b"Received: x\r\n" * 100 + MESSAGE)[0] == 250
    assert len(hop.sent) == 3
    blocks.write()
    assert Alias.objects.get(pk=alias.pk).blocks == 2


def test_the_null_sender_stays_null(alice: User, send: Send, hop: Hop) -> None:
    alias = issue(owner=alice)

    assert send(alias.address, sender="")[0] == 250
    assert hop.sent[0][0] == ""


@pytest.mark.parametrize(
    ("header", "offered"),
    [
        (b"Subject: x\r\n", True),
        (b"List-Unsubscribe: <mailto:x@y.test>\r\n", False),
        (b"DKIM-Signature: v=1; h=From:To:Subject; b=x\r\n", True),
        (b"DKIM-Signature: v=1; h=From:List-\r\n Unsubscribe:To; b=x\r\n", True),
        (b"DKIM-Signature: v=1; h=From : LIST-UNSUBSCRIBE :To; b=x\r\n", False),
    ],
)
def test_one_click_unsubscribe_is_offered_where_it_breaks_no_signature(
    alice: User, send: Send, hop: Hop, header: bytes, offered: bool
) -> None:
    alias = issue(owner=alice)

    send(alias.address, content=header + MESSAGE)

    assert (b"List-Unsubscribe-Post:" in hop.sent[0][2]) == offered


def test_the_unsubscribe_link_disables_the_alias_and_nothing_else(
    alice: User, send: Send, hop: Hop, client: Client
) -> None:
    alias = issue(owner=alice)
    send(alias.address)
    header = hop.sent[0][2].split(b"List-Unsubscribe: <http://localhost:8000")[1]
    path = header.split(b">")[0].decode()

    asked = Client().get(path)
    alias.refresh_from_db()
    assert (asked.status_code, alias.enabled) == (200, True)
    done = Client(enforce_csrf_checks=True).post(path, {"List-Unsubscribe": "One-Click"})
    alias.refresh_from_db()
    assert (done.status_code, alias.enabled) == (200, False)
    button = b"button--danger"
    assert (button in asked.content, button in Client().get(path).content) == (True, False)
    assert Client().post(path[:-3] + "xx/").status_code == 404
    assert Client().post("/unsubscribe/1/").status_code == 404


def bounce_report(status: str, action: str = "failed") -> bytes:
    """An RFC 3464 report, as Postfix writes one."""
    return (
        b"From: MAILER-DAEMON@mx.test\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="x"\r\n\r\n'
        b"--x\r\nContent-Type: text/plain\r\n\r\nSorry\r\n"
        b"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n"
        b"Final-Recipient: rfc822; alice@example.com\r\nAction: " + action.encode() + b"\r\n"
        b"Status: " + status.encode() + b"\r\n\r\n--x--\r\n"
    )


def test_a_bounce_is_counted_and_goes_no_further(alice: User, send: Send, hop: Hop) -> None:
    alias = issue(owner=alice)
    send(alias.address)
    path = hop.sent[0][0]
    hop.sent.clear()

    assert send(path, sender="bob@sender.test")[0] == 550
    for content in (bounce_report("5.1.1"), bounce_report("4.4.1", "delayed"), b"garbage", b""):
        assert send(path, sender="", content=content)[0] == 250
    forged = path[:2] + ("a" if path[2] != "a" else "c") + path[3:]
    assert send(forged, sender="", content=bounce_report("5.1.1")) == UNKNOWN
    with time_machine.travel(timezone.now() + timedelta(days=16)):
        assert send(path, sender="", content=bounce_report("5.1.1")) == UNKNOWN

    assert hop.sent == []
    assert [bounce.status for bounce in Bounce.objects.all()] == ["5.1.1"]


def test_five_bounces_over_a_day_pause_a_destination(alice: User, send: Send, hop: Hop) -> None:
    alias = issue(owner=alice)
    address = EmailAddress.objects.get(user=alice)
    start = timezone.now() - timedelta(days=3)

    def bounces(*hours: float, status: str = "5.1.1") -> list[bool]:
        paused = []
        for hour in hours:
            with time_machine.travel(start + timedelta(hours=hour), tick=False):
                paused.append(note_bounce(address, status))
        return paused

    assert bounces(0, 1, 2, 3, 4) == [False] * 5  # within a day
    resume(address)
    assert bounces(0, 1, 2, 25, 26, status="5.7.1") == [False] * 5  # spam refusals
    assert bounces(0, 1, 2, 25) == [False] * 4
    assert bounces(26) == [True]
    assert send(alias.address)[0] == 450
    assert hop.sent == []
    resume(address)
    assert not PausedDestination.objects.exists()
    assert send(alias.address)[0] == 250


def test_a_week_without_a_bounce_begins_anew(alice: User) -> None:
    address = EmailAddress.objects.get(user=alice)
    start = timezone.now() - timedelta(days=30)
    for days in (0, 0.5, 1.5, 2, 9.5):
        with time_machine.travel(start + timedelta(days=days), tick=False):
            paused = note_bounce(address, "5.1.1")

    assert not paused


def test_postmaster_reaches_a_person(alice: User, send: Send, hop: Hop) -> None:
    assert send("Postmaster@example.com")[0] == 250
    assert [recipient for _sender, recipient, _message in hop.sent] == ["boss@boss.test"]


def test_guessing_ends_the_connection(alice: User, door: int) -> None:
    with smtplib.SMTP("127.0.0.1", door, timeout=20) as client:
        client.ehlo()
        client.mail("bob@sender.test")
        codes = [client.rcpt(f"guess{number}@example.com")[0] for number in range(10)]
        assert codes == [550] * 9 + [421]
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()


def test_vrfy_and_auth_are_not_offered(db: None, door: int) -> None:
    with smtplib.SMTP("127.0.0.1", door, timeout=20) as client:
        client.ehlo()
        assert client.vrfy("alice")[0] == 502
        assert not client.has_extn("auth")
        assert not client.has_extn("dsn")


def test_a_message_over_the_limit_is_refused(alice: User, send: Send, hop: Hop) -> None:
    alias = issue(owner=alice)

    assert send(alias.address, content=MESSAGE + (b"x" * 900 + b"\r\n") * 6_000)[0] == 552
    assert send(alias.address, content=MESSAGE + b"x" * 9_000_000 + b"\r\n")[0] == 552
    assert hop.sent == []


def test_a_maildir_keeps_the_octets(tmp_path: Path) -> None:
    maildir = Maildir(tmp_path / "mail")

    content = b"A: b\r\n\r\n\xff\x00\n"
    assert send_once(maildir, "b.x@example.com", "alice@example.com", content) == Accepted()

    (file,) = (tmp_path / "mail" / "new").iterdir()
    assert file.read_bytes().endswith(b"Delivered-To: alice@example.com\r\nA: b\r\n\r\n\xff\x00\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / "mail" / "tmp").iterdir())


def test_a_maildir_that_cannot_be_written_is_temporary(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file")

    assert isinstance(send_once(Maildir(tmp_path / "mail"), "", "a@b.test", b"x"), Pending)


def test_the_smtp_next_hop_sends_octets_as_they_are(alice: User, door: int, hop: Hop) -> None:
    alias = issue(owner=alice)
    hop.answers["alice@example.com"] = Accepted()
    client = SmtpHop("127.0.0.1", door, hostname="client.test")
    content = b"A: b\r\n\r\n.\r\n..x\r\na\n.b\n\r\nend\r\n"

    async def send_all() -> list[Outcome]:
        known, unknown = alias.address, "nobody@example.com"
        outcomes = [
            await client.send("bob@sender.test", to, content) for to in (known, known, unknown, known)
        ]
        await client.close()
        return outcomes

    assert asyncio.run(send_all()) == [Accepted(), Accepted(), Refused("5.1.1"), Accepted()]
    assert all(message.endswith(content) for _sender, _recipient, message in hop.sent)


def test_messages_at_once_have_only_so_much_memory(
    alice: User, hop: Hop, settings: Settings, send: Send
) -> None:
    alias = issue(owner=alice)
    settings.MAIL_MEMORY = 1_000_000

    assert send(alias.address, content=MESSAGE + b"x" * 2_000_000 + b"\r\n")[0] == 452
    # What was held is free again.
    assert send(alias.address, content=MESSAGE + b"x" * 900_000 + b"\r\n")[0] == 250
    assert send(alias.address, content=MESSAGE + b"x" * 900_000 + b"\r\ny\r\n")[0] == 250
    assert len(hop.sent) == 2


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r.\r", b"\n.\r", b"\n.\n.\n", b"\r\n.\n"]
)
def test_a_false_end_of_data_is_none_for_a_lax_server_either(end: bytes) -> None:
    sent = b"".join(stuffed(b"a: b\r\n\r\nx" + end + b"MAIL FROM:<eve@evil.test>\r\n"))

    lax = sent.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert lax.count(b"\n.\n") == 1
    assert lax.endswith(b"\n.\n")


@pytest.mark.parametrize("end", [b"\n.", b"\r.", b"\r\n.", b"."])
def test_nor_is_the_end_of_a_message(end: bytes) -> None:
    sent = b"".join(stuffed(b"a: b\r\n\r\nx" + end))

    assert sent.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n.\n") == 1


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a"]), max_size=60), st.integers(1, 8))
def test_a_message_in_pieces_is_stuffed_as_a_whole_one(octets: list[bytes], size: int) -> None:
    message = b"".join(octets)
    whole = b"".join(stuffed(message))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mail.delivery.smtp_client.PIECE", size)
        assert b"".join(stuffed(message)) == whole
        assert b"".join(stuffed(message[size:], message[:size])) == whole


def test_a_message_that_is_read_aside_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    is_begun, may_end = threading.Event(), threading.Event()

    def read_slowly(content: bytes) -> bytes:
        if content == b"large":
            is_begun.set()
            may_end.wait(60)
        return content

    monkeypatch.setattr("mail.delivery.handover.without_first_received", read_slowly)
    large, small = (
        threading.Thread(target=Message("", content, "x", "SMTP").read) for content in (b"large", b"small")
    )
    large.start()
    assert is_begun.wait(20)
    small.start()
    small.join(20)
    is_read = not small.is_alive()
    may_end.set()
    for thread in (large, small):
        thread.join(20)

    assert is_read


def test_a_message_whose_sender_has_hung_up_is_finished_before_the_server_stops(
    alice: User, settings: Settings
) -> None:
    is_sending = threading.Event()

    class Slow(Hop):
        async def send(self, *args: Any, **more: Any) -> Outcome:
            is_sending.set()
            await asyncio.sleep(1)
            return await super().send(*args, **more)

    alias = issue(owner=alice)
    with running_door(Slow(), settings) as port:
        client = smtplib.SMTP("127.0.0.1", port, local_hostname="sender.test", timeout=20)
        client.ehlo()
        client.mail("bob@sender.test")
        client.rcpt(alias.address)
        client.docmd("DATA")
        client.send(MESSAGE + b".\r\n")
        assert is_sending.wait(20)
        # Both halves of the connection, at once.
        assert client.sock
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        time.sleep(0.3)

    alias.refresh_from_db()
    assert alias.forwards == 1
    assert Delivery.objects.get().accepted


def test_no_next_hop_is_temporary() -> None:
    assert isinstance(send_once(SmtpHop("127.0.0.1", 1), "", "a@b.test", b"x"), Pending)


def test_the_owner_sees_what_happened_and_nobody_else(
    alice: User, send: Send, hop: Hop, client: Client
) -> None:
    alias = issue(owner=alice)
    send(alias.address, content=b'From: "<b>" <eve@evil.test>\r\n\r\nx\r\n')
    alias.disable()
    send(alias.address)
    # Otherwise within a second.
    blocks.write()
    client.force_login(alice)

    text = client.get(f"/aliases/{alias.pk}/").content.decode()

    assert "eve@evil.test" in text
    assert "bob@sender.test" in text
    Alias.objects.filter(pk=alias.pk).strip()
    assert not Activity.objects.exists()


def test_a_paused_destination_is_shown_everywhere_tested_and_resumed(
    alice: User, client: Client, monkeypatch: pytest.MonkeyPatch, hop: Hop
) -> None:
    address = EmailAddress.objects.get(user=alice)
    PausedDestination.objects.create(destination=address)
    client.force_login(alice)
    monkeypatch.setattr("mail.views.configured_next_hop", lambda: hop)
    for page in ("/aliases/", "/tokens/", "/addresses/"):
        assert "refused mail several times and is paused" in client.get(page).content.decode()

    hop.answers[address.email] = Refused("5.1.1")
    assert (
        "still refuses mail" in client.post(f"/addresses/{address.pk}/resume/", follow=True).content.decode()
    )
    assert PausedDestination.objects.exists()
    del hop.answers[address.email]
    done = client.post(f"/addresses/{address.pk}/resume/", follow=True).content.decode()

    assert "takes mail again" in done
    assert not PausedDestination.objects.exists()
    assert client.post(f"/addresses/{address.pk}/resume/").status_code == 404


def test_connections_are_bounded_and_starttls_counts_once(
    alice: User, hop: Hop, certificate: ssl.SSLContext, settings: Settings
) -> None:
    alias = issue(owner=alice)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    settings.MAIL_CONNECTIONS = 2
    with running_door(hop, settings, certificate) as port:
        for _ in range(5):
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                client.starttls(context=trusting)
                client.sendmail("bob@sender.test", [alias.address], MESSAGE)
        with (
            smtplib.SMTP("127.0.0.1", port, timeout=20),
            smtplib.SMTP("127.0.0.1", port, timeout=20),
            pytest.raises(smtplib.SMTPConnectError) as refusal,
        ):
            smtplib.SMTP("127.0.0.1", port, timeout=20)

    assert len(hop.sent) == 5
    assert b"with ESMTPS;" in hop.sent[0][2]
    assert refusal.value.smtp_code == 421
