"""Whatever happens to a message, its sender never learns where it went."""

import base64
import quopri
import re
from collections.abc import Iterable
from email import message_from_bytes

import pytest

from accounts.models import User
from domains.models import Domain
from mail.models import Activity, Bounce
from tests.postfix.conftest import ONLY_LMTP, Site
from tests.postfix.sender import ACCEPTED, EVE, MESSAGE, figures, issue, settled, stranger
from tests.rig.mta import Arrived

HIDDEN = "hidden.person@secret-home.test"
OTHER = "second.person@secret-work.test"
MARKER = "MARKER-0815"
REFUSAL = f"550 5.1.1 <{HIDDEN}> {MARKER}: hidden.person has left secret-home.test"


def octets_for(address: str, heard: bytes, arrived: Iterable[Arrived]) -> bytes:
    """Every octet that the person at that address could see: the dialogue, and mail to it, decoded too."""
    seen = [heard]
    for message in arrived:
        if message.recipient == address:
            seen += [message.sender.encode(), message.content]
            for part in message_from_bytes(message.content).walk():
                payload = part.get_payload(decode=True)
                seen.append(payload if isinstance(payload, bytes) else b"")
    return b"\n".join(seen)


def assert_hidden(seen: bytes, *words: str) -> None:
    """None of the words is in these octets: in any case, nor in a coding that mail uses."""
    text = seen.lower()
    assert text  # something was heard, or the test would prove nothing
    for word in words:
        for form in (word.encode(), quopri.encodestring(word.encode())):
            assert form.lower() not in text, word
        for shift in range(3):
            coded = base64.b64encode(b" " * shift + word.encode())[4:-4]
            assert not coded or coded not in seen, word
    # As VERP writes an address, for one.
    assert not re.search(rb"secret-(home|work)|(hidden|second)[.=+_-]?person", text)


def assert_nothing_is_known(seen: bytes) -> None:
    assert_hidden(seen, HIDDEN, "hidden.person", "secret-home", OTHER, "second.person", "secret-work", MARKER)


def test_the_sender_sees_nothing_of_mail_that_arrives(alice: User, site: Site) -> None:
    alias = issue(alice, HIDDEN, OTHER)

    with stranger(site) as sender:
        told = sender.send(alias.address)

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    settled(site, 2)
    assert_nothing_is_known(bytes(sender.heard))


def test_a_destination_that_refuses_after_the_sender_has_gone_tells_nobody(alice: User, site: Site) -> None:
    """Postfix sends on, the far end refuses: the report comes to our return path, and ends there."""
    alias = issue(alice, HIDDEN)
    site.sink.refusals[HIDDEN] = REFUSAL

    with stranger(site) as sender:
        told = sender.send(alias.address)

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    assert settled(site, 0) == []  # no report to the sender, nor to anybody
    assert_nothing_is_known(bytes(sender.heard))
    bounce = Bounce.objects.get()
    assert (bounce.destination.email, bounce.status, bounce.is_no_mailbox) == (HIDDEN, "5.1.1", True)
    # It went on, and bounced further down.
    events = Activity.objects.filter(alias=alias).order_by("pk").values_list("event", flat=True)
    assert list(events) == ["forward", "bounce"]
    assert figures(alias) == (1, 0)


@ONLY_LMTP
def test_a_destination_that_the_next_hop_refuses_tells_nobody(alice: User, direct_site: Site) -> None:
    site = direct_site
    alias = issue(alice, HIDDEN)
    site.sink.refusals[HIDDEN] = REFUSAL

    with stranger(site) as sender:
        told = sender.send(alias.address)

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    assert settled(site, 0) == []
    assert_nothing_is_known(bytes(sender.heard))
    assert Bounce.objects.get().status == "5.1.1"
    assert Activity.objects.get(alias=alias).event == "bounce"
    assert figures(alias) == (0, 0)


@pytest.mark.parametrize("refused", [HIDDEN, OTHER])
def test_one_of_two_destinations_that_refuses_is_not_heard_of(
    alice: User, direct_site: Site, refused: str
) -> None:
    site = direct_site
    alias = issue(alice, HIDDEN, OTHER)
    site.sink.refusals[refused] = REFUSAL

    with stranger(site) as sender:
        told = sender.send(alias.address)

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    (arrived,) = settled(site, 1)
    assert arrived.recipient == (OTHER if refused == HIDDEN else HIDDEN)
    assert_nothing_is_known(bytes(sender.heard))
    assert Bounce.objects.get().destination.email == refused
    assert figures(alias) == (1, 0)


@ONLY_LMTP
def test_a_destination_that_is_full_for_now_tells_nobody(alice: User, direct_site: Site) -> None:
    site = direct_site
    alias = issue(alice, HIDDEN)
    site.sink.refusals[HIDDEN] = f"452 4.2.2 <{HIDDEN}> {MARKER} full"

    with stranger(site) as sender:
        told = sender.send(alias.address)

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    assert len(site.postfix.queue()) == 1
    assert_nothing_is_known(bytes(sender.heard))
    # What waits is for the alias: whoever gets a report of it gets one about the alias.
    waiting = [entry["recipients"] for entry in site.postfix.queue()]
    assert_nothing_is_known(repr([*waiting, "queue"]).encode())
    assert site.sink.arrived == []
    assert not Bounce.objects.exists()


def test_a_report_from_elsewhere_goes_no_further(alice: User, site: Site) -> None:
    """A later hop's report arrives from outside, with the destination in it."""
    alias = issue(alice, HIDDEN)
    with stranger(site) as sender:
        sender.send(alias.address)
    (arrived,) = settled(site, 1)
    report = (
        b"From: MAILER-DAEMON@secret-home.test\r\nTo: <" + arrived.sender.encode() + b">\r\n"
        b"MIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="x"\r\n\r\n'
        b"--x\r\nContent-Type: text/plain\r\n\r\nSorry\r\n"
        b"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n"
        b"Final-Recipient: rfc822; "
        + HIDDEN.encode()
        + b"\r\nAction: failed\r\nStatus: 5.2.1\r\n\r\n--x--\r\n"
    )

    with stranger(site, b"mx.secret-home.test") as far_end:
        told = far_end.send(arrived.sender, sender="", content=report)

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    settled(site, 1)
    bounce = Bounce.objects.get()
    assert (bounce.destination.email, bounce.status) == (HIDDEN, "5.2.1")


@pytest.mark.parametrize("role", ["postmaster@example.com", "abuse@mx.example.com", "postmaster"])
def test_the_postmasters_own_address_stays_hidden_when_it_refuses(
    example_com: Domain, site: Site, role: str
) -> None:
    site.sink.refusals["boss@boss.test"] = "550 5.1.1 <boss@boss.test> has left boss.test"

    with stranger(site) as sender:
        told = sender.send(role)

    assert told.codes == ["250"]
    assert settled(site, 0) == []
    assert_hidden(bytes(sender.heard), "boss")


def test_the_postmasters_own_address_stays_hidden_while_the_sender_waits(
    example_com: Domain, direct_site: Site
) -> None:
    site = direct_site
    site.sink.refusals["boss@boss.test"] = "550 5.1.1 <boss@boss.test> has left boss.test"

    with stranger(site) as sender:
        sender.send("postmaster@example.com")

    assert settled(site, 0) == []
    assert_hidden(bytes(sender.heard), "boss")


def test_a_loop_is_reported_to_nobody(alice: User, site: Site) -> None:
    alias = issue(alice, HIDDEN)
    with stranger(site) as sender:
        sender.send(alias.address)
        (once,) = settled(site, 1)
        # As it looks when the destination sends it back: what is above our fields is the destination's.
        ours = once.content.rindex(b"Received: from", 0, once.content.index(b" (Anonmail) with "))
        came_back = once.content[ours:]
        assert_nothing_is_known(came_back)
        sender.send(alias.address, content=came_back)

    assert_nothing_is_known(octets_for(EVE, bytes(sender.heard), settled(site, 1)))
    assert figures(alias) == (1, 1)


@ONLY_LMTP
def test_logs_of_ours_carry_no_address(
    alice: User, direct_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    site = direct_site
    alias = issue(alice, HIDDEN)
    site.sink.refusals[HIDDEN] = REFUSAL

    with stranger(site) as sender:
        sender.send(alias.address, content=MESSAGE)
    site.postfix.wait_until_idle()

    ours = "\n".join(
        record.getMessage()
        for record in caplog.records
        if record.name.startswith(("mail", "aliases", "core"))
    )
    assert f"alias {alias.pk} destination" in ours
    assert_nothing_is_known(ours.encode())
    assert "@" not in ours
