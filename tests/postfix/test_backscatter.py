"""Once Postfix has queued a message, nothing that a stranger controls makes a report to whoever is named as
its sender; and what this machine sends to itself reaches a person."""

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from django.test.utils import override_settings
from pytest_django import Settings

from accounts.models import User
from aliases.models import Alias
from domains.models import Domain
from mail.delivery.handover import Answer
from mail.models import Activity
from mail.postfix.fresh import fresh
from mail.postfix.parameters import Configuration
from tests.postfix.conftest import ONLY_LMTP, Running, Site, run_postfix, run_site
from tests.postfix.sender import ACCEPTED, MESSAGE, figures, issue, send, settled, stranger

SMALL = 400_000
HOPS = b"Received: from a.test by b.test; Thu, 1 Jan 2026 00:00:00 +0000\r\n"


@pytest.fixture(scope="module", params=[False, True], ids=["lmtp", "milter"])
def small_postfix(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A Postfix whose messages have at most SMALL octets."""

    def small() -> Configuration:
        with override_settings(MAIL_SIZE_LIMIT=SMALL):
            return fresh(with_milter=request.param)

    yield from run_postfix(small)


@pytest.fixture
def small_site(small_postfix: Running, transactional_db: None, settings: Settings) -> Iterator[Site]:
    settings.MAIL_SIZE_LIMIT = SMALL
    yield from run_site(*small_postfix, settings)


@pytest.mark.parametrize(
    "recipient",
    ["eve@[127.0.0.1]", "root@[127.0.0.1]", "postmaster@[127.0.0.1]", "eve@localhost", "root@localhost"]
    + ["eve@mx.example.com", "root@mx.example.com", "root"],
)
def test_this_host_has_no_mailbox_for_strangers(example_com: Domain, site: Site, recipient: str) -> None:
    told = send(site, recipient)

    assert told.codes[0] in {"550", "554", "504"}, told.recipients
    assert settled(site, 0) == []


@pytest.mark.parametrize("recipient", ["root", "root@localhost", "www-data", "root@mx.example.com"])
def test_mail_of_this_machine_reaches_the_postmaster(example_com: Domain, site: Site, recipient: str) -> None:
    sendmail(site, recipient)

    (arrived,) = settled(site, 1)
    assert (arrived.sender, arrived.recipient) == ("", "boss@boss.test")
    assert arrived.content.endswith(b"\r\ncron\r\n")


def sendmail(site: Site, recipient: str, content: bytes = b"Subject: Cron\n\ncron\n") -> None:
    """As cron does, and whatever else runs here."""
    command = ["/usr/sbin/sendmail", "-C", str(site.postfix.directory), "-f", "root", recipient]
    subprocess.run(command, input=content, check=True, timeout=300)


@pytest.mark.parametrize("hops", [100, 105, 120])
def test_a_hundred_hops_are_honest(alice: User, site: Site, hops: int) -> None:
    alias = issue(alice)

    told = send(site, alias.address, content=HOPS * hops + MESSAGE)

    # More than is honest hears so while it is here to hear it.
    assert [answer[:3] for answer in told.data] == ["250" if hops <= 105 else "554"]
    settled(site, int(hops <= 105))
    assert figures(alias)[0] == int(hops <= 105)


def test_a_loop_ends_in_the_figures(alice: User, fresh_site: Site) -> None:
    site, alias = fresh_site, issue(alice)
    send(site, alias.address)
    (once,) = settled(site, 1)

    told = send(site, alias.address, content=once.content)

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    settled(site, 1)
    assert figures(alias) == (1, 1)
    assert Activity.objects.filter(alias=alias, event="block").count() == 1


CHANGES: dict[str, Callable[[Alias], object]] = {
    "disabled": lambda alias: alias.disable(),
    "deleted": lambda alias: alias.soft_delete(),
    "its owner gone": lambda alias: alias.owner.deactivate(),
    "stripped": lambda alias: (alias.soft_delete(), Alias.objects.filter(pk=alias.pk).strip()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_alias_that_ends_while_its_mail_waits_makes_no_report(
    alice: User, fresh_site: Site, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, alias = fresh_site, issue(alice)

    async def later(*_args: object) -> Answer:
        return Answer.LATER

    with monkeypatch.context() as patch:
        patch.setattr("mail.delivery.forward.Forwarder.take", later)
        send(site, alias.address)
        assert len(site.postfix.queue()) == 1
        site.postfix.command("postsuper", "-h", "ALL")
        # A try that is underway ends.
        time.sleep(0.5)

    CHANGES[change](alias)
    site.postfix.command("postsuper", "-H", "ALL")
    site.postfix.wait_until_idle(flush=True)

    assert settled(site, 0) == []
    assert figures(alias) == (0, 1)


@pytest.mark.parametrize("refusal", ["550 5.1.1 gone", "554 5.7.1 spam", "552 5.3.4 too large"])
@ONLY_LMTP
def test_a_refusal_of_the_next_hop_is_told_to_the_owner_alone(
    alice: User, direct_site: Site, refusal: str
) -> None:
    site, alias = direct_site, issue(alice)
    site.sink.refusals["alice@home.test"] = refusal

    told = send(site, alias.address)

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    assert settled(site, 0) == []
    assert Activity.objects.get(alias=alias).event == "bounce"


def test_a_refusal_of_the_postmasters_is_told_to_no_sender(example_com: Domain, direct_site: Site) -> None:
    site = direct_site
    site.sink.refusals["boss@boss.test"] = "550 5.1.1 gone"

    assert send(site, "postmaster@example.com").codes == ["250"]

    assert settled(site, 0) == []


SENDERS = [
    '"a b"@sender.test',
    '"<>"@sender.test',
    '"a\\"b>"@sender.test',
    "eve@[192.0.2.7]",
    "eve@[IPv6:2001:db8::1]",
    "e" * 900 + "@sender.test",
    "e" * 1500 + "@sender.test",
    "eve..eve@sender.test",
    ".eve@sender.test",
    "eve",
    "ü@sender.test",
    "@a.test,@b.test:eve@sender.test",
]


@pytest.mark.parametrize("sender", SENDERS)
def test_a_sender_may_be_written_in_any_way(alice: User, fresh_site: Site, sender: str) -> None:
    site, alias = fresh_site, issue(alice)
    with stranger(site) as eve:
        answer = eve.say(f"MAIL FROM:<{sender}>".encode())
        if not answer.startswith("250"):
            return  # Postfix itself hears of it while the sender is there.
        eve.say(f"RCPT TO:<{alias.address}>".encode())
        assert eve.data(MESSAGE).startswith(ACCEPTED)

    (arrived,) = settled(site, 1)
    assert arrived.recipient == "alice@home.test"


@pytest.mark.parametrize("line", [b".\r\n", b"x\r\n", b"\r\n", b"x" * 990 + b"\r\n"])
@pytest.mark.parametrize("missing", [0, 250, 3000])
def test_a_message_up_to_the_limit_goes_on(alice: User, small_site: Site, line: bytes, missing: int) -> None:
    """The fields of Postfix and ours make it larger; dots are doubled on the wire."""
    site, alias = small_site, issue(alice)
    room = SMALL - missing - len(MESSAGE)
    content = MESSAGE + line * (room // len(line))

    told = send(site, alias.address, content=content)

    # What Postfix takes, arrives; what it does not take, the sender hears.
    taken = [answer[:3] for answer in told.data] == ["250"]
    assert taken or [answer[:3] for answer in told.data] == ["552"]
    assert taken or missing < 3000
    settled(site, int(taken))
