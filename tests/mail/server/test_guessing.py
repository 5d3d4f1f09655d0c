"""Who guesses addresses, and who names ten thousand recipients."""

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from aliases.models import Alias
from mail.server.limits import UnknownRecipientLimit, client_address, limited_client
from tests.rig.mail_doors import Hop
from tests.rig.mail_peers import MESSAGE, UNKNOWN, Places, greeted, is_served

# On PostgreSQL the doors have all their threads.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


def test_ten_thousand_recipients_over_lmtp(open_doors: Callable[..., Places], alias: Alias, hop: Hop) -> None:
    commands = b"RCPT TO:<%b>\r\n" % alias.address.encode() * 10_000
    with greeted("lmtp", open_doors()["lmtp"]) as peer:
        assert peer.ask(b"MAIL FROM:<bob@sender.test>\r\n")[:3] == b"250"
        writer = threading.Thread(target=peer.say, args=(commands,))
        writer.start()
        replies = peer.replies(10_000)
        writer.join()
        assert peer.ask(b"DATA\r\n")[:3] == b"354"
        peer.say(MESSAGE + b".\r\nQUIT\r\n")
        answers = peer.rest().splitlines()

    assert replies[:100] == [b"250 2.1.5 OK"] * 100
    assert set(replies[100:]) == {b"452 4.5.3 Too many recipients, please send the others again"}
    # The same alias a hundred times: one copy, and an answer each.
    assert answers == [b"250 2.0.0 Accepted"] * 100 + [b"221 Bye"]
    assert len(hop.sent) == 1


def test_ten_thousand_guesses_over_smtp(open_doors: Callable[..., Places], example_com: object) -> None:
    place = open_doors()["smtp"]
    with greeted("smtp", place) as peer:
        commands = b"".join(b"RCPT TO:<guess%d@example.com>\r\n" % number for number in range(10_000))
        peer.say(b"MAIL FROM:<bob@sender.test>\r\n")
        with suppress(ConnectionError):
            peer.say(commands)
        replies = peer.rest().splitlines()

    assert replies.count(UNKNOWN) <= 9
    assert is_served("smtp", place)


def test_guesses_count_for_the_client_over_its_connections(
    open_doors: Callable[..., Places], alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_doors(MAIL_UNKNOWN_PER_CLIENT=5, MAIL_TRUSTED_CLIENTS=[])["smtp"]

    def rcpt(recipient: str) -> bytes:
        with greeted("smtp", place) as peer:
            peer.ask(b"MAIL FROM:<bob@sender.test>\r\n")
            return peer.ask(b"RCPT TO:<%b>\r\n" % recipient.encode())

    assert [rcpt(f"guess{number}@example.com") for number in range(5)] == [UNKNOWN] * 5
    assert rcpt("guess@example.com")[:3] == rcpt(alias.address)[:3] == b"421"
    # As if the periods were over.
    monkeypatch.setattr("mail.server.limits._Count.at", lambda count, now: 0)
    assert rcpt(alias.address)[:3] == b"250"


def test_the_count_of_guesses_is_by_network_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mail.server.limits.CLIENTS_REMEMBERED", 100)
    limit = UnknownRecipientLimit(1)

    limit.count(limited_client("2001:db8::1"))
    limit.count(limited_client(client_address(("::ffff:192.0.2.1", 25, 0, 0))))

    assert limit.is_over(limited_client("2001:db8::ffff"))
    assert not limit.is_over(limited_client("2001:db8:0:1::1"))
    # A socket for both families writes IPv4 addresses as IPv6 ones: they are no common network.
    assert limit.is_over("192.0.2.1")
    assert not limit.is_over(limited_client(client_address(("::ffff:192.0.2.2", 25, 0, 0))))
    for number in range(1000):
        limit.count(f"192.0.{number // 250}.{number % 250}")
    assert len(limit._counts) == 100
