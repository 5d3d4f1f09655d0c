"""The doors for a Postfix in front: what it asks and hears, and what it may hand over."""

import smtplib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from mail.delivery import lookups, record
from mail.delivery.blocks import blocks
from mail.delivery.entries import Begun, Entry, Settled
from mail.delivery.handover import Answer, Message
from mail.delivery.next_hop import Pending, Refused
from mail.delivery.resolve import Kind, OurDomains, our_domains, resolve
from mail.delivery.return_path import return_path
from mail.models import Activity, Delivery
from tests.rig.mail_doors import Hop, running_doors, take

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGE = b"Received: by mx.test id 1\r\nFrom: Bob <bob@sender.test>\r\nSubject: Hi\r\n\r\n..Hello\r\n"
GO_ON = "DUNNO"
UNKNOWN = "550 5.1.1 User unknown"
AWAY = "DEFER_IF_PERMIT 4.3.0 Cannot look this up now, try again later"
Places = dict[str, tuple[str, int]]


@pytest.fixture
def hop() -> Hop:
    return Hop()


@pytest.fixture
def places(hop: Hop, settings: Settings) -> Iterator[Places]:
    settings.MAIL_POSTMASTER = "boss@boss.test"
    settings.MAIL_HOSTNAME = "mx.example.com"
    with running_doors(hop, "lmtp", "policy", "socketmap") as found:
        yield found


Ask = Callable[..., str]


@pytest.fixture
def policy(places: Places) -> Iterator[Ask]:
    with socket.create_connection(places["policy"], 20) as connection:
        stream = connection.makefile("rwb")

        def ask(recipient: str, sender: str = "bob@sender.test", state: str = "RCPT") -> str:
            """The action for one recipient, over one kept connection."""
            attributes = f"request=smtpd_access_policy\nprotocol_state={state}\n"
            stream.write(f"{attributes}sender={sender}\nrecipient={recipient}\n\n".encode())
            stream.flush()
            answer = stream.readline().decode()
            assert stream.readline() == b"\n"
            return answer.removeprefix("action=").rstrip("\n")

        yield ask


@pytest.fixture
def look_up(places: Places) -> Iterator[Ask]:
    with socket.create_connection(places["socketmap"], 20) as connection:
        stream = connection.makefile("rwb")

        def ask(key: str) -> str:
            """The socket map's answer for one key, over one kept connection."""
            question = f"recipients {key}".encode()
            stream.write(b"%d:%b," % (len(question), question))
            stream.flush()
            length = b""
            while not length.endswith(b":"):
                length += stream.read(1)
            answer = stream.read(int(length[:-1]) + 1)
            assert answer.endswith(b",")
            return answer[:-1].decode()

        yield ask


@pytest.fixture
def shared_org(db: None) -> Domain:
    """A domain with ordinary mailboxes beside its aliases."""
    return Domain.objects.create(name="shared.org", anonmail_enabled=True, is_shared=True)


def test_the_policy_tells_blocked_from_unknown_to_nobody(alice: User, root: User, policy: Ask) -> None:
    enabled, disabled, deleted, stripped = (issue(owner=alice) for _ in range(4))
    disabled.disable()
    deleted.soft_delete()
    stripped.soft_delete()
    Alias.objects.filter(pk=stripped.pk).strip()

    assert policy(enabled.address.upper().replace("@", "+Tag@")) == GO_ON
    answers = {policy(alias.address) for alias in (disabled, deleted, stripped)}
    answers |= {policy("nobody@example.com"), policy('"a b"@example.com'), policy("x" * 65 + "@example.com")}
    assert answers == {UNKNOWN}
    alice.deactivate()
    assert policy(enabled.address) == UNKNOWN
    blocks.write()
    assert [Alias.objects.get(pk=alias.pk).blocks for alias in (enabled, disabled, deleted)] == [1, 1, 1]
    assert Activity.objects.filter(event="block").count() == 4


@pytest.mark.parametrize("tag", ["ü", "a..b", "x" * 80, "+", "", ".", '"x"', "日本", "a b", "\udcff"])
def test_a_tag_is_ignored_whatever_it_holds(
    alice: User, policy: Ask, look_up: Ask, lmtp: "Lmtp", hop: Hop, tag: str
) -> None:
    alias = issue(owner=alice)
    local_part, _at, domain = alias.address.partition("@")
    address = f"{local_part}+{tag}@{domain}"

    assert resolve(address).alias_id == alias.pk
    assert resolve(address.upper()).alias_id == alias.pk
    assert resolve(f"postmaster+{tag}@{domain}").kind is Kind.ROLE
    if "\udcff" not in tag:
        assert policy(address) == GO_ON
        # Postfix asks again without the tag, after its own mailboxes.
        assert look_up(address) == "NOTFOUND "
    alias.disable()
    assert resolve(address).kind is Kind.BLOCKED
    assert resolve(f"+{tag}@{domain}").kind is Kind.UNKNOWN
    assert resolve(f"nobody+{tag}@{domain}").kind is Kind.UNKNOWN


@pytest.mark.parametrize("tag", ["ü", "日本", "x" * 80, "a..b", "\xff"])
def test_mail_to_a_tag_arrives(alice: User, hop: Hop, settings: Settings, tag: str) -> None:
    alias = issue(owner=alice)
    address = alias.address.replace("@", f"+{tag}@").encode("latin-1" if tag == "\xff" else "utf-8")
    with running_doors(hop, "smtp", "lmtp") as places:
        for door, hello in (("smtp", b"EHLO"), ("lmtp", b"LHLO")):
            with socket.create_connection(places[door], 20) as peer, peer.makefile("rb") as stream:
                commands = b"%b x.test\r\nMAIL FROM:<bob@sender.test> SMTPUTF8\r\nRCPT TO:<%b>\r\nDATA\r\n"
                peer.sendall(commands % (hello, address))
                while not (line := stream.readline()).startswith(b"354"):
                    assert line.startswith(b"2"), line
                peer.sendall(MESSAGE + door.encode() + b"\r\n.\r\nQUIT\r\n")
                assert stream.readline() == b"250 2.0.0 Accepted\r\n"

    assert len(hop.sent) == 2
    assert all(f"X-Anonmail-Alias: {alias.address}\r\n".encode() in sent[2] for sent in hop.sent)


def test_the_policy_leaves_other_peoples_mail_alone(alice: User, policy: Ask) -> None:
    for recipient in ("bob@elsewhere.test", "no address", "@", "", "x@[192.0.2.1]"):
        assert policy(recipient) == GO_ON
    alias = issue(owner=alice)
    alias.disable()

    assert policy(alias.address, state="DATA") == GO_ON

    blocks.write()
    alias.refresh_from_db()
    assert alias.blocks == 0


def test_beside_ordinary_mailboxes_postfix_decides_about_what_is_no_alias(
    root: User, shared_org: Domain, policy: Ask
) -> None:
    alias = issue(owner=root, domain="shared.org")

    assert [policy(alias.address), policy("info@shared.org"), policy("postmaster@shared.org")] == [GO_ON] * 3
    alias.disable()
    assert policy(alias.address) == UNKNOWN


def test_roles_and_bounce_addresses(alice: User, policy: Ask, settings: Settings) -> None:
    alias = issue(owner=alice)
    home = EmailAddress.objects.get(user=alice)
    path = return_path(alias.pk, home.pk, "example.com", timezone.now())
    forged = path[:2] + ("a" if path[2] != "a" else "c") + path[3:]

    for role in ("postmaster@example.com", "Abuse+x@EXAMPLE.com", "postmaster", "postmaster@mx.example.com"):
        assert policy(role) == GO_ON
    assert policy(path, sender="") == GO_ON
    assert policy(path) == "550 5.7.1 This address accepts only bounces"
    assert policy(forged, sender="") == UNKNOWN
    settings.MAIL_POSTMASTER = ""
    assert policy("postmaster@example.com") == UNKNOWN


def test_while_the_database_is_away_our_mail_waits_and_others_does_not(
    alice: User, shared_org: Domain, policy: Ask, look_up: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias = issue(owner=alice)
    assert policy(alias.address) == GO_ON  # the domains are known by now

    def away(**values: object) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr("mail.delivery.resolve._FIND", away)
        assert policy(alias.address) == AWAY
        assert policy("nobody@example.com") == AWAY
        assert policy("bob@elsewhere.test") == GO_ON
        assert look_up("x@shared.org") == "TEMP Cannot look this up now"
        assert look_up("bob@elsewhere.test") == "NOTFOUND "

    assert policy(alias.address) == GO_ON


def test_a_database_that_hangs_is_answered_for_in_time(
    alice: User, policy: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias = issue(owner=alice)
    alias.disable()
    assert policy(alias.address) == UNKNOWN
    monkeypatch.setattr("mail.delivery.gatherer.ANSWER_TIMEOUT", 0.3)

    def hang(addresses: list[str]) -> list[tuple[str, int, bool]]:
        time.sleep(1)
        return [(alias.address, alias.pk, False)]

    with monkeypatch.context() as patch:
        patch.setattr("mail.delivery.resolve._FIND", hang)
        assert policy(alias.address) == AWAY
        time.sleep(1)

    blocks.write()
    alias.refresh_from_db()
    assert alias.blocks == 1  # what was not answered is not counted


def test_the_domains_that_were_ours_are_remembered_without_the_database(
    example_com: Domain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mail.delivery.resolve.threading.Thread.start", lambda self: None)
    file = tmp_path / "our_domains.json"
    before, after = OurDomains(), OurDomains()
    before.keep(file)
    before._ask()
    after.keep(file)

    assert after.shared() == {"example.com": False}
    file.write_text("[")
    after.keep(file)
    assert after.shared() == {"example.com": False}


def test_the_socket_map_finds_what_is_ours(alice: User, root: User, shared_org: Domain, look_up: Ask) -> None:
    alias = issue(owner=root, domain="shared.org")
    home = EmailAddress.objects.get(user=root)
    path = return_path(alias.pk, home.pk, "shared.org", timezone.now())

    assert look_up(alias.address) == f"OK {alias.address}"
    assert look_up(alias.address.upper()) == f"OK {alias.address.upper()}"
    assert look_up(path) == f"OK {path}"
    for key in ("info@shared.org", "postmaster@shared.org", "*", "shared.org", "@shared.org", ".shared.org"):
        assert look_up(key) == "NOTFOUND "
    # Postfix asks again without the tag, after its own mailboxes.
    assert look_up(alias.address.replace("@", "+x@")) == "NOTFOUND "
    alias.disable()
    assert look_up(alias.address) == "NOTFOUND "


@pytest.mark.parametrize(
    ("door", "octets"),
    [
        ("policy", b"\n\n"),
        ("policy", b"GET / HTTP/1.1\r\n\r\n\n\n"),
        ("policy", b"request=other\nrecipient=a@example.com\n\n"),
        ("policy", b"x=" + b"y" * 20_000),
        ("socketmap", b"GET /"),
        ("socketmap", b"99999999:"),
        ("socketmap", b"4:abcd;"),
        ("socketmap", b"7:nomap x,"),
        ("socketmap", b"3:abc,"),
        ("socketmap", b":,"),
    ],
)
def test_what_is_no_question_ends_the_connection_and_nothing_else(
    example_com: Domain, places: Places, door: str, octets: bytes
) -> None:
    with socket.create_connection(places[door], 20) as connection:
        connection.sendall(octets)
        assert connection.recv(100) == b""
    with socket.create_connection(places["policy"], 20) as connection:
        connection.sendall(b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=x@example.com\n\n")
        assert connection.recv(100) == f"action={UNKNOWN}\n\n".encode()


class Lmtp(smtplib.LMTP):
    """smtplib's client, which gives each recipient's answer to one message."""

    def hand_over(
        self, *recipients: str, content: bytes = MESSAGE, sender: str = "bob@sender.test"
    ) -> list[str]:
        """The answers to the recipients that were accepted, in their order; raises for none."""
        self.ehlo_or_helo_if_needed()
        assert self.mail(sender)[0] == 250
        accepted = [recipient for recipient in recipients if self.rcpt(recipient)[0] == 250]
        assert self.docmd("DATA")[0] == 354
        self.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return [
            b" ".join((b"%d" % code, text)).decode() for code, text in (self.getreply() for _ in accepted)
        ]


@pytest.fixture
def lmtp(places: Places) -> Iterator[Lmtp]:
    with Lmtp(*places["lmtp"], timeout=20) as client:
        yield client


def test_lmtp_answers_for_each_recipient(alice: User, root: User, lmtp: Lmtp, hop: Hop) -> None:
    first, refusing, pending, disabled = (issue(owner=alice) for _ in range(4))
    EmailAddress.objects.create(user=alice, email="gone@home.test", verified=True)
    EmailAddress.objects.create(user=alice, email="down@home.test", verified=True)
    refusing.set_destinations(["gone@home.test"])
    pending.set_destinations(["alice@example.com", "down@home.test"])
    hop.answers = {"gone@home.test": Refused("5.1.1"), "down@home.test": Pending("down")}
    disabled.disable()
    recipients = [alias.address for alias in (first, disabled, refusing, pending, first)]

    answers = lmtp.hand_over(*recipients, "postmaster@example.com")

    done = "250 2.0.0 Accepted"
    later = "451 4.4.1 Cannot deliver now, try again later"
    # A refusal would make a report to whoever is named as the sender.
    assert answers == [done, done, done, later, done, done]
    blocks.write()
    events = {
        alias.pk: list(alias.activities.values_list("event", flat=True)) for alias in (refusing, disabled)
    }
    assert events == {refusing.pk: ["bounce"], disabled.pk: ["block"]}
    assert sorted(recipient for _sender, recipient, _content in hop.sent) == [
        "alice@example.com",
        "alice@example.com",
        "boss@boss.test",
    ]
    assert all(content.endswith(MESSAGE) for _sender, _recipient, content in hop.sent)


def test_a_message_that_is_handed_over_again_is_not_sent_again(alice: User, lmtp: Lmtp, hop: Hop) -> None:
    EmailAddress.objects.create(user=alice, email="down@home.test", verified=True)
    alias = issue(owner=alice, destinations=["alice@example.com", "down@home.test"])
    hop.answers = {"down@home.test": Pending("down")}

    answers = [lmtp.hand_over(alias.address)[0][:3] for _ in range(2)]
    hop.answers.clear()
    answers += [lmtp.hand_over(alias.address)[0][:3] for _ in range(2)]
    other = MESSAGE.replace(b"id 1", b"id 2")
    answers += [lmtp.hand_over(alias.address, content=other)[0][:3]]

    assert answers == ["451", "451", "250", "250", "250"]
    recipients = [recipient for _sender, recipient, _content in hop.sent]
    assert recipients == ["alice@example.com", "down@home.test"] * 2
    alias.refresh_from_db()
    assert alias.forwards == 4
    assert Delivery.objects.count() == 4


def test_the_postmaster_never_sees_a_loop_and_the_sender_no_postmaster(
    example_com: Domain, lmtp: Lmtp, hop: Hop
) -> None:
    assert lmtp.hand_over("postmaster@example.com") == ["250 2.0.0 Accepted"]
    ((sender, _recipient, content),) = hop.sent
    assert sender == ""
    assert lmtp.hand_over("abuse@example.com", content=content) == ["250 2.0.0 Accepted"]
    hop.answers["boss@boss.test"] = Refused("5.1.1")
    other = MESSAGE.replace(b"id 1", b"id 2")
    assert lmtp.hand_over("postmaster@example.com", content=other) == ["250 2.0.0 Accepted"]
    assert len(hop.sent) == 1


def test_a_destination_that_became_an_alias_ends_there(alice: User, lmtp: Lmtp, hop: Hop) -> None:
    alias = issue(owner=alice)
    trap = issue(owner=alice)
    EmailAddress.objects.filter(user=alice).update(email=trap.address)

    assert lmtp.hand_over(alias.address) == ["250 2.0.0 Accepted"]
    assert hop.sent == []
    assert alias.activities.get().event == "bounce"


def test_lmtp_speaks_lmtp_alone(places: Places) -> None:
    with socket.create_connection(places["lmtp"], 20) as connection:
        stream = connection.makefile("rwb")
        assert stream.readline().startswith(b"220 ")
        for command in (b"EHLO x.test\r\n", b"HELO x.test\r\n"):
            stream.write(command)
            stream.flush()
            assert stream.readline().startswith(b"500 ")
        stream.write(b"LHLO x.test\r\n")
        stream.flush()
        offered = []
        while True:
            line = stream.readline()
            offered.append(line[4:].strip())
            if line[3:4] == b" ":
                break
    assert {b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"ENHANCEDSTATUSCODES"} <= set(offered)
    assert not {b"DSN", b"VRFY"} & set(offered)


@pytest.mark.parametrize("content", [b"", b".\r\n", b"x\r\n", b"..\r\n.\r\n", b"a\r\n.\r\n.b\r\n", b"a.\r\n"])
def test_dots_at_the_start_of_lines_arrive(alice: User, lmtp: Lmtp, hop: Hop, content: bytes) -> None:
    alias = issue(owner=alice)
    lmtp.ehlo_or_helo_if_needed()
    lmtp.mail("bob@sender.test")
    lmtp.rcpt(alias.address)
    lmtp.docmd("DATA")
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    lmtp.send(stuffed + b".\r\n")

    assert lmtp.getreply()[0] == 250
    # Without a header, an empty line ends ours.
    between = b"\r\n" if content else b""
    assert hop.sent[0][2].endswith(b"One-Click\r\n" + between + content)


def test_answers_to_commands_that_come_together_go_out_together(alice: User, places: Places) -> None:
    alias = issue(owner=alice)
    with socket.create_connection(places["lmtp"], 20) as client, client.makefile("rb") as stream:
        stream.readline()
        client.sendall(b"LHLO x.test\r\n")
        while stream.readline()[3:4] == b"-":
            continue
        commands = f"MAIL FROM:<a@b.test>\r\nRCPT TO:<{alias.address}>\r\nDATA\r\n"
        client.sendall(commands.encode())
        answers = client.recv(65536)

    assert [line[:3] for line in answers.splitlines()] == [b"250", b"250", b"354"]


def test_a_question_is_answered_even_if_nothing_more_can_be_asked(places: Places) -> None:
    question = b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=x@example.com\n\n"
    with socket.create_connection(places["policy"], 20) as client, client.makefile("rb") as stream:
        client.sendall(question * 3)
        client.shutdown(socket.SHUT_WR)

        assert stream.read() == b"action=DUNNO\n\n" * 3


def test_resolving_takes_one_statement_and_none_for_others(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    alias = issue(owner=alice)
    our_domains.forget()
    resolve(alias.address)

    with django_assert_num_queries(1):
        resolve(alias.address)
    with django_assert_num_queries(0):
        resolve("bob@elsewhere.test")


def test_forwarding_takes_two_commits(alice: User, hop: Hop, monkeypatch: pytest.MonkeyPatch) -> None:
    alias, commits = issue(owner=alice), []
    message = Message("bob@sender.test", MESSAGE, "x", "LMTP", is_queued=True)
    resolution = resolve(alias.address)

    def counted(entries: Sequence[Entry], *more: object) -> None:
        commits.append([type(entry) for entry in entries])
        write_all(entries, *more)

    write_all = record._write_all
    monkeypatch.setattr(record, "_write_all", counted)

    assert take(message, resolution, hop) is Answer.DONE
    # That it is about to be sent; and what became of it, with its counter and its activity.
    assert commits == [[Begun], [Settled]]
    # Handed over again: what is settled.
    assert take(message, resolution, hop) is Answer.DONE
    assert len(commits) == 2


@pytest.mark.parametrize("number", [1, 5])
def test_any_number_of_messages_takes_as_many_statements_as_one(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries, number: int
) -> None:
    aliases = [issue(owner=alice) for _ in range(number)]
    home = EmailAddress.objects.get(user=alice)
    our_domains.shared()
    copies = [(alias.pk, home.pk, f"{alias.pk}") for alias in aliases]

    with django_assert_num_queries(1):
        lookups.answer_all([alias.address for alias in aliases])
    with django_assert_num_queries(2):
        lookups.answer_all(
            [lookups.CopiesOf(alias.pk, "x") for alias in aliases]
            + [lookups.DestinationsOf(alias.pk) for alias in aliases]
        )
    # PostgreSQL is told how long to wait for locks; and SQLite's statements are counted for each row.
    if connection.vendor == "postgresql":
        with django_assert_num_queries(4):
            record._write_all([Begun(alias_id, digest, (home_id,)) for alias_id, home_id, digest in copies])
        with django_assert_num_queries(6):
            record._write_all([Settled(*copy, "", "bob@sender.test") for copy in copies])
