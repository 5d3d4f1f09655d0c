"""Messages and reports that are made to cost much, and cost little."""

import time
import tracemalloc
from collections.abc import Callable

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone

from aliases.models import Alias
from mail.delivery.message import without_first_received
from mail.delivery.report import read_report
from mail.delivery.return_path import return_path
from mail.models import Bounce
from tests.rig.mail_doors import Hop
from tests.rig.mail_peers import Places, greeted, report, transaction

# On PostgreSQL the doors have all their threads.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


BOMBS = {
    "lines": b"".join(b"X-%d: y\r\n" % number for number in range(100_000)) + b"\r\nbody\r\n",
    "long": b"X: " + b"y" * 10_000_000 + b"\r\n\r\nbody\r\n",
    "folded": b"X:" + b" y\r\n" * 1_000_000 + b"\r\nbody\r\n",
    "comments": b"From: " + b"(" * 200_000 + b"\r\n\r\nbody\r\n",
    "quotes": b"From: " + b'"\\' * 100_000 + b"\r\n\r\nbody\r\n",
    "groups": b"From: " + b"a:b," * 50_000 + b";\r\n\r\nbody\r\n",
    "routes": b"From: " + b"<@a," * 50_000 + b">\r\n\r\nbody\r\n",
    "dots": b"From: " + b"a." * 100_000 + b"@b.test\r\n\r\nbody\r\n",
    "brackets": b"From: a@" + b"[" * 200_000 + b"\r\n\r\nbody\r\n",
    "tags": b"DKIM-Signature: " + b"h=a:;" * 50_000 + b"\r\n\r\nbody\r\n",
    "no header": b"\r\n" * 1_000_000,
    "no line ends": b"x" * 5_000_000,
    "received": b"Received: " + b"x\r\n " * 1_000_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_in_the_header_is_forwarded_once(
    open_doors: Callable[..., Places], alias: Alias, hop: Hop, bomb: str
) -> None:
    content = BOMBS[bomb] if BOMBS[bomb].endswith(b"\r\n") else BOMBS[bomb] + b"\r\n"
    began = time.process_time()
    with greeted("lmtp", open_doors()["lmtp"]) as peer:
        for _try in range(2):
            peer.say(transaction(alias.address, content))
            assert [reply[:3] for reply in peer.replies(4)] == [b"250", b"250", b"354", b"250"]

    # Once: what was sent and could not be written down would be sent again with every try.
    assert len(hop.sent) == 1
    assert hop.sent[0][2].endswith(content)
    alias.refresh_from_db()
    assert alias.forwards == 1
    assert time.process_time() - began < 10


def test_a_folded_received_field_is_one_field() -> None:
    rest = b"From: a@b.test\r\n\r\nbody\r\n"

    for end in (b"\r\n", b"\n"):
        assert without_first_received(b"Received: from x" + end + b"\tby y; now" + end + rest) == rest
    assert without_first_received(b"Received: x\r\n y") == b""


HEAD = b'Content-Type: multipart/report; boundary="b"\r\n\r\n--b\r\n'
STATUS = HEAD + b"Content-Type: message/delivery-status\r\n\r\n"
NEST = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(200))
MEGABYTES = 20
REPORTS = {
    "blocks": lambda: STATUS + b"a:\n\n" * (MEGABYTES * 250_000),
    "fields": lambda: STATUS + b"a:b\n" * (MEGABYTES * 250_000),
    "folded": lambda: STATUS + b"Action: failed\n" + b" x\n" * (MEGABYTES * 333_000),
    "long": lambda: STATUS + b"Action: " + b"x" * (MEGABYTES * 1_000_000),
    "header": lambda: b"X: y\r\n" * (MEGABYTES * 166_000) + report(),
    "nested": lambda: NEST + b"x\r\n" * (MEGABYTES * 333_000),
    "deep": lambda: NEST * 1500,
    "messages": lambda: b"Content-Type: message/rfc822\r\n\r\n" * (MEGABYTES * 31_000),
    "parts": lambda: HEAD + b"\r\n--b\r\n" * (MEGABYTES * 125_000),
    "numbers": lambda: STATUS + b"\n\nAction: failed\nStatus: " + b"5.1." * (MEGABYTES * 250_000),
    "boundary": lambda: (
        b'Content-Type: multipart/report; boundary="' + b"b" * (MEGABYTES * 1_000_000) + b'"\r\n\r\n'
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_bomb_to_a_bounce_address_is_no_work(name: str) -> None:
    octets = REPORTS[name]()
    began = time.thread_time()
    read_report(octets)
    assert time.thread_time() - began < 5

    if name not in {"blocks", "fields", "parts", "messages"}:
        # Measuring makes it many times slower: only where there are many small things.
        return
    tracemalloc.start()
    try:
        read_report(octets[:100_000])
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64_000_000


def status_of(octets: bytes) -> str:
    found = read_report(octets)
    assert found is not None
    return found.status


def test_a_report_is_read_whatever_it_brings_along() -> None:
    assert status_of(report(returned=b"x: y\r\n" * 3_000_000)) == "5.1.1"
    assert status_of(report(human=b"<p>Sorry, so sorry.</p>\r\n" * 4_000)) == "5.1.1"
    assert status_of(report(b"4.2.2 (mailbox full)").replace(b"\r\n", b"\n")) == "4.2.2"


def test_a_bomb_to_a_valid_bounce_address_is_taken(open_doors: Callable[..., Places], alias: Alias) -> None:
    home = EmailAddress.objects.get(user=alias.owner)
    path = return_path(alias.pk, home.pk, "example.com", timezone.now())
    bomb = report(b"5.1.1\0" + b"9" * 500, returned=NEST * 500)
    with greeted("smtp", open_doors()["smtp"]) as peer:
        peer.say(transaction(path, bomb, sender=b""))
        assert [reply[:3] for reply in peer.replies(4)] == [b"250", b"250", b"354", b"250"]

    assert [bounce.status for bounce in Bounce.objects.all()] == ["5.1.1"]
