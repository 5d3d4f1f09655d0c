"""Mail to addresses that become aliases with it, at every door."""

import smtplib
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import OperationalError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, NameSpace
from aliases.spaces import change, give, switch
from core.ratelimit import Counter
from domains.models import Domain
from hooks.models import HookMessage
from mail.delivery.blocks import blocks
from mail.delivery.handover import Answer, Message
from mail.delivery.next_hop import Pending
from mail.delivery.on_the_fly import made
from mail.delivery.resolve import Kind, our_domains, resolve, resolve_all
from mail.models import Activity, Delivery
from tests.rig.hooking import make as make_hook
from tests.rig.mail_doors import Hop, Process, running_doors
from tests.rig.mail_process import is_soon
from tests.rig.milter_client import Mta
from tests.rig.nameserver import Nameserver, nameserver
from tests.rig.replying import Lmtp, letter

pytestmark = pytest.mark.django_db(transaction=True)

EVE = "eve@far.test"
UNKNOWN = "550 5.1.1 User unknown"
FULL = "450 4.2.1 Mailbox unavailable, try again later"
LETTER = b"From: Eve <eve@far.test>\r\nSubject: Hi\r\n\r\nHello\r\n"
Answered = tuple[int, bytes]


@pytest.fixture
def fly(alice: User) -> Domain:
    fly = Domain.objects.create(name="fly.test", anonmail_enabled=True)
    fly.grant(alice)
    return fly


@pytest.fixture
def space(alice: User, fly: Domain) -> Iterator[NameSpace]:
    space = give(domain=fly, owner=alice)
    switch(space, True)
    our_domains.forget()
    yield space
    blocks.write()


def at_most(space: NameSpace, number: int) -> None:
    change(space, names="", is_expression=False, key_word="", per_day=number, rules=[])


@pytest.fixture
def places(hop: Hop, space: NameSpace, settings: Settings) -> Iterator[dict[str, tuple[str, int]]]:
    settings.MAIL_UNKNOWN_PER_CLIENT = settings.MAIL_UNKNOWN_PER_DAY = 0
    with running_doors(hop, "smtp", "lmtp", "policy", "socketmap", "milter") as found:
        yield found


Send = Callable[..., list[Answered]]


@pytest.fixture
def send(places: dict[str, tuple[str, int]]) -> Send:
    def send(
        *recipients: str, door: str = "smtp", sender: str = EVE, content: bytes = LETTER
    ) -> list[Answered]:
        """What is answered to each recipient, and, if one was accepted, to the message; over LMTP to each."""
        kind = {"smtp": smtplib.SMTP, "lmtp": Lmtp}[door]
        with kind(*places[door], local_hostname="mx.far.test", timeout=20) as client:
            client.ehlo()
            client.mail(sender)
            answers = [client.rcpt(recipient) for recipient in recipients]
            number = sum(code == 250 for code, _words in answers)
            if number:
                answers.append(client.data(content))
                if door == "lmtp":
                    answers += [client.getreply() for _ in range(number - 1)]
        return answers

    return send


def codes(answers: list[Answered]) -> list[int]:
    return [code for code, _words in answers]


def policy(places: dict[str, tuple[str, int]], recipient: str, sender: str = EVE) -> str:
    with socket.create_connection(places["policy"], 20) as connection, connection.makefile("rwb") as stream:
        question = (
            f"request=smtpd_access_policy\nprotocol_state=RCPT\nsender={sender}\nrecipient={recipient}\n\n"
        )
        stream.write(question.encode())
        stream.flush()
        return stream.readline().decode().strip().removeprefix("action=")


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_the_first_message_makes_the_alias_and_arrives_once(
    alice: User, hop: Hop, send: Send, door: str
) -> None:
    make_hook(alice, "https://hooks.test/x", "alias.created")

    assert codes(send("Shop+tag@FLY.test", door=door)) == [250, 250]

    alias = Alias.objects.get()
    assert (alias.address, alias.owner, alias.made_by_mail) == ("shop@fly.test", alice, True)
    assert [to for _sender, to, _content in hop.sent] == [alice.email]
    alias.refresh_from_db()
    assert alias.forwards == 1
    assert HookMessage.objects.get().event == "alias.created"
    # The next one finds it, and the same octets are another message once the first answer was read.
    assert codes(send("shop@fly.test", door=door, content=LETTER + b"2\r\n")) == [250, 250]
    assert len(hop.sent) == 2
    assert Alias.objects.count() == 1


def test_the_same_octets_again_are_another_message(hop: Hop, send: Send) -> None:
    for _ in range(2):
        assert codes(send("shop@fly.test")) == [250, 250]

    assert len(hop.sent) == 2
    # Forgotten in a moment, by the alias's key: no client waits for that.
    assert is_soon(lambda: not Delivery.objects.exists())


def test_a_recipient_alone_makes_nothing(places: dict[str, tuple[str, int]], send: Send) -> None:
    with smtplib.SMTP(*places["smtp"], timeout=20) as client:
        client.ehlo()
        client.mail(EVE)
        assert client.rcpt("shop@fly.test")[0] == 250
        client.rset()
    assert policy(places, "shop@fly.test") == "DUNNO"
    # The sender's server may ask with the null sender whether there is such an address.
    assert policy(places, "shop@fly.test", "") == "DUNNO"
    assert policy(places, "admin@fly.test") == UNKNOWN

    assert not Alias.objects.exists()
    assert not Counter.objects.exists()


def test_known_addresses_take_the_same_statement_and_unknown_ones_elsewhere_too(
    alice: User, space: NameSpace, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    known = Alias.objects.create(address="known@fly.test", domain=space.domain, owner=alice)
    resolve(known.address)

    with django_assert_num_queries(1):
        assert resolve(known.address).kind is Kind.FORWARD
    with django_assert_num_queries(1):
        assert resolve("nobody@example.com").kind is Kind.UNKNOWN
    # The aliases, the name spaces, own addresses, removed ones, the counter.
    with django_assert_num_queries(5):
        assert resolve("shop@fly.test").kind is Kind.NEW


def test_several_recipients_of_one_message(hop: Hop, send: Send, space: NameSpace) -> None:
    # Over SMTP one answer follows the message: others come again.
    assert codes(send("a@fly.test", "b@fly.test", "a+tag@fly.test")) == [250, 452, 250, 250]
    assert [alias.address for alias in Alias.objects.all()] == ["a@fly.test"]

    # Over LMTP each has its own; the same one twice is one alias and one copy.
    at_most(space, 3)
    answers = send("c@fly.test", "d@fly.test", "c+x@fly.test", "e@fly.test", "a@fly.test", door="lmtp")

    assert codes(answers[:5]) == [250] * 5
    assert codes(answers[5:]) == [250, 250, 250, 450, 250]
    assert set(Alias.objects.values_list("address", flat=True)) == {"a@fly.test", "c@fly.test", "d@fly.test"}
    assert len(hop.sent) == 4


def test_the_switch_holds_for_the_next_message_and_even_for_the_present_one(
    places: dict[str, tuple[str, int]], send: Send, space: NameSpace
) -> None:
    assert codes(send("a@fly.test")) == [250, 250]
    with smtplib.SMTP(*places["smtp"], timeout=20) as client:
        client.ehlo()
        client.mail(EVE)
        assert client.rcpt("b@fly.test")[0] == 250
        switch(space, False)
        assert client.data(LETTER) == (550, b"5.7.1 Message refused")

    assert send("c@fly.test") == [(550, b"5.1.1 User unknown")]
    assert policy(places, "c@fly.test") == UNKNOWN
    # What is there goes on.
    assert codes(send("a@fly.test", content=LETTER + b"2\r\n")) == [250, 250]
    assert Alias.objects.count() == 1


@pytest.mark.parametrize("state", ["disabled", "deleted", "stripped"])
def test_a_deleted_one_stays_deleted_and_refused(
    places: dict[str, tuple[str, int]], send: Send, hop: Hop, state: str
) -> None:
    send("shop@fly.test")
    alias = Alias.objects.get()
    if state == "disabled":
        alias.disable()
    else:
        alias.soft_delete()
    if state == "stripped":
        Alias.objects.filter(pk=alias.pk).strip()

    assert send("shop@fly.test", "shop+tag@fly.test") == [(550, b"5.1.1 User unknown")] * 2
    assert policy(places, "shop@fly.test") == UNKNOWN
    assert len(hop.sent) == Alias.objects.count() == 1


def test_over_the_days_limit_new_names_wait_and_known_ones_arrive(
    places: dict[str, tuple[str, int]], send: Send, hop: Hop, space: NameSpace
) -> None:
    at_most(space, 1)
    send("a@fly.test")

    assert send("b@fly.test") == [(450, FULL[4:].encode())]
    assert policy(places, "b@fly.test") == FULL
    # What Postfix has queued meanwhile waits there.
    assert codes(send("b@fly.test", door="lmtp")) == [250, 450]
    assert codes(send("a@fly.test", content=LETTER + b"2\r\n")) == [250, 250]
    Counter.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert codes(send("b@fly.test", door="lmtp")) == [250, 250]
    assert len(hop.sent) == 3


def test_what_has_waited_for_days_ends_without_a_report(send: Send, hop: Hop, space: NameSpace) -> None:
    at_most(space, 1)
    send("a@fly.test")
    came = format_datetime(timezone.now() - timedelta(days=4, hours=1))
    late = f"Received: from a by b with SMTP; {came}\r\n".encode() + LETTER

    assert codes(send("b@fly.test", door="lmtp", content=late)) == [250, 250]
    assert len(hop.sent) == Alias.objects.count() == 1


@pytest.mark.parametrize(("door", "last"), [("smtp", 550), ("lmtp", 250)])
def test_a_bounce_makes_no_alias(send: Send, hop: Hop, door: str, last: int) -> None:
    """Thousands come when somebody has forged the domain's addresses as senders. Over LMTP it is dropped: a
    refusal would be a bounce of a bounce."""
    assert codes(send("shop@fly.test", door=door, sender="")) == [250, last]
    assert not Alias.objects.exists()
    assert not hop.sent


def test_guessing_names_counts_as_ever(settings: Settings, hop: Hop, space: NameSpace) -> None:
    at_most(space, 1)
    settings.MAIL_UNKNOWN_PER_CLIENT, settings.MAIL_TRUSTED_CLIENTS = 3, []
    answers = []
    with running_doors(hop, "smtp") as places:
        with smtplib.SMTP(*places["smtp"], timeout=20) as client:
            client.ehlo()
            client.mail(EVE)
            client.rcpt("a@fly.test")
            client.data(LETTER)
        for number in range(5):
            with smtplib.SMTP(*places["smtp"], timeout=20) as client:
                client.ehlo()
                client.mail(EVE)
                answers.append(client.rcpt(f"n{number}@fly.test")[0])

    # Then even "try later" tells nothing more: the same is said of the known one.
    assert answers == [450, 450, 450, 421, 421]


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_nothing_is_lost_or_doubled_when_the_next_hop_is_away(
    hop: Hop, send: Send, alice: User, door: str
) -> None:
    hop.answers[alice.email] = Pending("away")
    assert codes(send("shop@fly.test", door=door)) == [250, 451]
    assert Alias.objects.count() == 1
    del hop.answers[alice.email]

    assert codes(send("shop@fly.test", door=door)) == [250, 250]

    assert len(hop.sent) == Activity.objects.filter(event="forward").count() == 1
    assert Counter.objects.get(scope="by-mail-day").count == 1


@pytest.mark.parametrize("when", ["asked", "made"])
def test_while_the_database_is_away_the_sender_tries_again(
    send: Send, hop: Hop, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def away(*_arguments: Any) -> Any:
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(f"mail.delivery.resolve.{'chances' if when == 'asked' else 'make'}", away)
        assert codes(send("shop@fly.test")) == ([451] if when == "asked" else [250, 451])
        assert not Alias.objects.exists()

    assert codes(send("shop@fly.test")) == [250, 250]
    assert len(hop.sent) == 1


def test_a_person_writes_at_once_from_an_address_that_is_no_alias_yet(
    alice: User, hop: Hop, space: NameSpace, settings: Settings
) -> None:
    """In addy.io's form of a tag; a stranger who writes so reaches the owner."""
    EmailAddress.objects.create(user=alice, email="alice.secret@home.test", verified=True)
    to = "shop+jane=other.test@fly.test"
    with nameserver({"home.test": ['TXT "v=spf1 ip4:127.0.0.1 -all"']}) as dns:
        assert isinstance(dns, Nameserver)
        settings.DNS_RESOLVERS = [f"127.0.0.1:{dns.port}"]
        with running_doors(hop, "smtp") as places:
            for sender, content in (
                ("alice.secret@home.test", letter(to)),
                (EVE, LETTER),
            ):
                with smtplib.SMTP(*places["smtp"], local_hostname="mx.home.test", timeout=20) as client:
                    client.ehlo()
                    client.mail(sender)
                    assert client.rcpt(to)[0] == 250
                    assert client.data(content)[0] == 250

    assert [recipient for _sender, recipient, _content in hop.sent] == ["jane@other.test", alice.email]
    assert b"home.test" not in hop.sent[0][2]
    assert Alias.objects.get().address == "shop@fly.test"


def test_the_milter_lets_it_go_on_and_it_comes_back_over_lmtp(places: dict[str, tuple[str, int]]) -> None:
    mta = Mta(places["milter"])
    try:
        mta.negotiate()
        mta.mail(EVE)
        assert mta.rcpt("shop@fly.test") == ""
        assert mta.rcpt("admin@fly.test").startswith("550 5.1.1 ")
        # Unchanged: Postfix queues it for the LMTP door.
        assert [type(answer).__name__ for answer in mta.end()] == ["Continue"]
    finally:
        mta.close()
    assert not Alias.objects.exists()


def test_the_socket_map_knows_them(places: dict[str, tuple[str, int]]) -> None:
    with socket.create_connection(places["socketmap"], 20) as connection:
        for key, answer in (("shop@fly.test", b"16:OK shop@fly.test,"), ("info@fly.test", b"9:NOTFOUND ,")):
            question = f"recipients {key}".encode()
            connection.sendall(b"%d:%b," % (len(question), question))
            assert connection.recv(100) == answer


def test_beside_ordinary_mailboxes_nothing_is_made(
    send: Send, space: NameSpace, places: dict[str, tuple[str, int]]
) -> None:
    """The domain was marked so afterwards: an unknown name may be a mailbox's."""
    Domain.objects.filter(name="fly.test").update(is_shared=True)
    our_domains.forget()

    assert resolve("shop@fly.test").kind is Kind.UNKNOWN
    # For Postfix's own maps to know.
    assert policy(places, "shop@fly.test") == "DUNNO"
    assert send("shop@fly.test") == [(550, b"5.1.1 User unknown")]


def test_a_restart_without_the_database_refuses_nobody_for_good(space: NameSpace) -> None:
    """The domains come from the file then; whether mail makes aliases there is asked when it is back."""
    our_domains.forget()
    our_domains._shared = {"fly.test": False}
    our_domains._kept = True
    try:
        assert resolve("shop@fly.test").kind is Kind.NEW
    finally:
        our_domains._kept = False
        our_domains.forget()


def test_a_destination_that_would_become_an_alias_is_no_way_out(
    alice: User, space: NameSpace, hop: Hop
) -> None:
    """Its domain has become ours since then: mail that goes there would come back."""
    with Process(hop) as process:
        assert process.runner.run(process.forwarder.lookups.leads_to_us("shop@fly.test"))
        assert not process.runner.run(process.forwarder.lookups.leads_to_us("shop@elsewhere.test"))


def test_several_at_once_are_asked_together(
    space: NameSpace, alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    other = Domain.objects.create(name="other.test", anonmail_enabled=True)
    other.grant(alice)
    switch(give(domain=other, owner=alice, suffix="alice"), True)
    our_domains.forget()
    names = ["a@fly.test", "a.alice@other.test", "a@other.test", "admin@fly.test", "a@example.com"]
    resolve("x@example.com")

    # Two statements for all, three for each that may be made.
    with django_assert_num_queries(2 + 2 * 3):
        kinds = [found.kind for found in resolve_all(names)]

    assert kinds == [Kind.NEW, Kind.NEW, Kind.UNKNOWN, Kind.UNKNOWN, Kind.UNKNOWN]


def test_a_message_whose_recipient_is_known_asks_nothing(alice: User, hop: Hop) -> None:
    alias = issue(owner=alice)
    message = Message(EVE, LETTER, "x", "SMTP")
    with Process(hop) as process:
        found = resolve(alias.address)
        assert process.runner.run(made(process.lookups, message, found)) is found
        assert process.take(message, resolve("nobody@example.com")) is Answer.REFUSED
