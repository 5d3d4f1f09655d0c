"""A database that reads and cannot be written: nothing is sent, however often a sender tries; then once."""

import asyncio
import smtplib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasDestination
from mail.delivery import record
from mail.delivery.entries import Entry, Redirected, Settled
from mail.delivery.handover import Answer, Message
from mail.delivery.lookups import NOTHING, answer_all
from mail.delivery.message import Octets
from mail.delivery.next_hop import Outcome, Pending, Refused
from mail.delivery.record import LEASE
from mail.delivery.resolve import Kind, Resolution, resolve
from mail.models import Activity, Delivery
from tests.rig.at_once import and_disconnect
from tests.rig.faults import FullDisk, full, small_disk
from tests.rig.mail_doors import Hop, Process, running_doors, take
from tests.rig.mail_process import Server, is_soon
from tests.rig.postgresql import run_as_owner

MESSAGE = b"Received: by mx.test id 1\r\nFrom: Bob <bob@sender.test>\r\nSubject: Hi\r\n\r\nHello\r\n"
TRIES = 3
# Seconds for an answer. The promise is three for each wait; a busy machine takes longer.
ANSWER = 12.0


def hand_over(client: smtplib.SMTP, recipient: str) -> int:
    """The code of the answer to one message."""
    client.ehlo_or_helo_if_needed()
    assert client.mail("bob@sender.test")[0] == 250
    code = client.rcpt(recipient)[0]
    if code == 250:
        assert client.docmd("DATA")[0] == 354
        client.send(MESSAGE + b".\r\n")
        code = client.getreply()[0]
    client.rset()
    return code


# --- SQLite: real processes over a file --------------------------------------------------------


@contextmanager
def locked(disk: Path, database: Path) -> Iterator[None]:
    """Another process writes, and does not end."""
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


def sqlite_client(server: Server, door: str) -> smtplib.SMTP:
    if door == "lmtp":
        return smtplib.LMTP(str(server.directory / "lmtp"), timeout=90)
    return smtplib.SMTP("127.0.0.1", server.port, local_hostname="sender.test", timeout=90)


@pytest.fixture
def disk() -> Iterator[Path]:
    try:
        with small_disk(4) as path:
            yield path
    except FullDisk as reason:
        pytest.skip(str(reason))


@pytest.mark.sqlite
@pytest.mark.parametrize("trouble", [lambda disk, database: full(disk), locked], ids=["full", "locked"])
def test_sqlite(disk: Path, server: Server, filled: tuple[Path, str], trouble: Callable[..., Any]) -> None:
    database = disk / "db.sqlite3"
    database.write_bytes(filled[0].read_bytes())
    server.start(DATABASE_URL=f"sqlite:///{database}", MAIL_POSTMASTER="boss@boss.test")
    recipients = [filled[1], "postmaster@example.com"]
    with ExitStack() as stack:
        clients = [stack.enter_context(sqlite_client(server, door)) for door in ("smtp", "lmtp")]
        for client in clients:
            client.ehlo_or_helo_if_needed()

        with trouble(disk, database):
            codes = []
            for _ in range(TRIES):
                for client in clients:
                    for recipient in recipients:
                        began = time.monotonic()
                        codes.append(hand_over(client, recipient))
                        assert time.monotonic() - began < ANSWER
            while_unwritable = server.arrived()

        assert while_unwritable == []
        assert set(codes) == {451}
        after = [hand_over(client, recipient) for client in clients for recipient in recipients]
    assert after == [250] * 4
    assert len(server.arrived()) == 4
    with closing(sqlite3.connect(database)) as read:
        assert is_soon(lambda: read.execute("SELECT sum(forwards) FROM aliases_alias").fetchone() == (2,))
    server.end()


# --- PostgreSQL, and both: the doors in this process -------------------------------------------


@pytest.fixture
def hop() -> Hop:
    return Hop()


@pytest.fixture
def clients(hop: Hop, settings: Settings) -> Iterator[list[smtplib.SMTP]]:
    """A client of the SMTP door, and one of the LMTP door."""
    settings.MAIL_POSTMASTER = "boss@boss.test"
    settings.MAIL_HOSTNAME = "mx.example.com"
    with running_doors(hop, "smtp", "lmtp") as places, ExitStack() as stack:
        yield [
            stack.enter_context(smtplib.SMTP(*places["smtp"], local_hostname="sender.test", timeout=60)),
            stack.enter_context(smtplib.LMTP(*places["lmtp"], timeout=60)),
        ]


OTHERS = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@contextmanager
def takes_no_changes() -> Iterator[None]:
    """PostgreSQL as a replica is, or a primary that is being replaced."""
    name = connection.settings_dict["NAME"]
    run_as_owner(f"ALTER DATABASE {name} SET default_transaction_read_only = on", OTHERS)
    connection.close()
    yield
    run_as_owner(f"ALTER DATABASE {name} RESET default_transaction_read_only", OTHERS)
    connection.close()


@contextmanager
def has_no_room(*tables: str) -> Iterator[None]:
    """PostgreSQL as it answers where its disk is full (SQLSTATE 53100)."""
    run_as_owner(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$",
        *(
            f"CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION no_room()"
            for table in tables
        ),
    )
    yield
    run_as_owner(*(f"DROP TRIGGER no_room ON {table}" for table in tables), "DROP FUNCTION no_room()")


@contextmanager
def is_of_a_newer_release(table: str) -> Iterator[None]:
    """The table has a column that this code does not know, and that must have a value."""
    run_as_owner(f"ALTER TABLE {table} ADD COLUMN newer integer NOT NULL")
    yield
    run_as_owner(f"ALTER TABLE {table} DROP COLUMN newer")


@contextmanager
def is_locked() -> Iterator[None]:
    """Somebody holds the table, and does not end."""
    values = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    with psycopg.connect(**{name: values[name] for name in names if name in values}) as own:
        own.execute("LOCK TABLE mail_delivery IN SHARE MODE")
        yield


POSTGRESQL = {
    "read-only": takes_no_changes,
    "full": lambda: has_no_room("mail_delivery", "mail_activity", "aliases_alias"),
    "locked": is_locked,
    "newer": lambda: is_of_a_newer_release("mail_delivery"),
}


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("trouble", POSTGRESQL)
def test_postgresql(
    alice: User, clients: list[smtplib.SMTP], hop: Hop, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("database", "gatherer"):
        monkeypatch.setattr(f"mail.delivery.{module}.WRITE_TIMEOUT", 0.5)
    recipients = [issue(owner=alice).address, "postmaster@example.com"]
    codes = []

    with POSTGRESQL[trouble]():
        for _ in range(TRIES):
            for client in clients:
                for recipient in recipients:
                    began = time.monotonic()
                    codes.append(hand_over(client, recipient))
                    assert time.monotonic() - began < ANSWER
        while_unwritable = list(hop.sent)

    assert while_unwritable == []
    assert set(codes) == {451}
    assert [hand_over(client, recipient) for client in clients for recipient in recipients] == [250] * 4
    assert len(hop.sent) == 4
    assert Alias.objects.get().forwards == 2


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("trouble", [has_no_room, is_of_a_newer_release])
def test_what_is_sent_and_cannot_be_settled(
    alice: User,
    clients: list[smtplib.SMTP],
    hop: Hop,
    trouble: Callable[[str], AbstractContextManager[None]],
) -> None:
    recipients = [issue(owner=alice).address, "postmaster@example.com"]

    # That it is about to be sent can be written, and what became of it cannot.
    with trouble("mail_activity"):
        codes = [hand_over(client, recipients[0]) for client in clients for _ in range(TRIES)]

    # The message that was sent is known at the SMTP door; at the other one it is another (its octets are
    # kept until we answer), and nothing else is sent before what became of the first is written.
    assert codes == [250] * TRIES + [451] * TRIES
    assert len(hop.sent) == 1
    hand_over(clients[1], recipients[1])
    assert Alias.objects.get().forwards == 1
    assert Activity.objects.count() == 1


# --- What is begun, and by whom ----------------------------------------------------------------


@pytest.fixture
def message() -> Message:
    return Message("bob@sender.test", MESSAGE, "x", "LMTP", is_queued=True)


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


def role() -> Resolution:
    return resolve("postmaster@example.com")


@pytest.mark.django_db(transaction=True)
def test_an_outcome_that_cannot_be_written_is_remembered(
    alias: Alias, message: Message, hop: Hop, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = EmailAddress.objects.create(user=alias.owner, email="down@home.test", verified=True)
    alias.set_destinations(["alice@example.com", home.email])
    hop.answers = {home.email: Pending("down")}

    def full(entries: Sequence[Entry], *more: Any) -> None:
        if any(isinstance(entry, Settled) for entry in entries):
            raise OperationalError("full")
        write_all(entries, *more)

    write_all = record._write_all

    with Process(hop) as process:
        with monkeypatch.context() as patch:
            patch.setattr("mail.delivery.record._write_all", full)
            first = process.take(message, resolve(alias.address))
            with pytest.raises(OperationalError):
                process.take(message, resolve(alias.address))
        hop.answers.clear()
        last = process.take(message, resolve(alias.address))

    assert (first, last) == (Answer.LATER, Answer.DONE)
    assert [recipient for _sender, recipient, _content in hop.sent] == ["alice@example.com", home.email]
    alias.refresh_from_db()
    assert alias.forwards == Activity.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", [Kind.FORWARD, Kind.ROLE])
def test_what_another_process_has_begun_is_left_to_it_for_a_while(
    alias: Alias, message: Message, hop: Hop, settings: Settings, kind: Kind
) -> None:
    settings.MAIL_POSTMASTER = "boss@boss.test"
    resolution = resolve(alias.address) if kind is Kind.FORWARD else role()

    class Dies(Hop):
        async def send(self, *args: Any, **more: Any) -> Outcome:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(message, resolution, Dies())
    now = timezone.now()
    with time_machine.travel(now + LEASE / 2):
        soon = take(message, resolution, hop)
        sent_soon = len(hop.sent)
    # A clock that was wrong keeps nothing back either.
    with time_machine.travel(now - LEASE * 3):
        later = take(message, resolution, hop)
        again = take(message, resolution, hop)

    assert (soon, sent_soon) == (Answer.LATER, 0)
    assert (later, again) == (Answer.DONE, Answer.DONE)
    assert len(hop.sent) == 1
    assert Delivery.objects.get().accepted


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_begin_at_once_send_once(
    alias: Alias, message: Message, hop: Hop, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolution = resolve(alias.address)

    class Slow(Hop):
        async def send(self, *args: Any, **more: Any) -> Outcome:
            # Another process asked before this one began, and begins now.
            def before(questions: Sequence[Any]) -> list[Any]:
                found = answer_all(questions)
                return [[(destination, NOTHING) for destination, _known in copies] for copies in found]

            monkeypatch.setattr("mail.delivery.proposals.answer_all", before)
            assert await other.forwarder.take(message, resolution) is Answer.LATER
            return await super().send(*args, **more)

    slow = Slow()
    with Process(hop) as other:
        assert take(message, resolution, slow) is Answer.DONE
    assert (len(slow.sent), len(hop.sent)) == (1, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", [Kind.FORWARD, Kind.ROLE])
def test_what_is_pending_may_come_again_at_once(
    alias: Alias, message: Message, hop: Hop, settings: Settings, kind: Kind
) -> None:
    settings.MAIL_POSTMASTER = "boss@boss.test"
    resolution = resolve(alias.address) if kind is Kind.FORWARD else role()
    hop.answers = dict.fromkeys(("alice@example.com", "boss@boss.test"), Pending("down"))
    first = take(message, resolution, hop)
    hop.answers = {}

    assert (first, take(message, resolution, hop)) == (Answer.LATER, Answer.DONE)
    assert len(hop.sent) == 1


@pytest.mark.django_db(transaction=True)
def test_an_alias_that_goes_while_its_mail_is_sent_is_no_reason_to_send_again(
    alias: Alias, message: Message
) -> None:
    def remove() -> None:
        Delivery.objects.all().delete()
        AliasDestination.objects.all().delete()
        Activity.objects.all().delete()
        Alias.objects.filter(pk=alias.pk).delete()

    class Removes(Hop):
        async def send(self, *args: Any, **more: Any) -> Outcome:
            await asyncio.to_thread(and_disconnect, remove)
            return await super().send(*args, **more)

    with Process(Removes()) as process:
        assert process.take(message, resolve(alias.address)) is Answer.DONE
        assert not process.ledger._unwritten


@pytest.mark.django_db(transaction=True)
def test_a_destination_that_goes_while_it_refuses_a_message_stops_nothing_else(alias: Alias) -> None:
    home = EmailAddress.objects.create(user=alias.owner, email="home@home.test", verified=True)
    alias.set_destinations([home.email])
    other = issue(owner=alias.owner)

    def remove() -> None:
        alias.set_destinations(["alice@example.com"])
        home.delete()

    class Removes(Hop):
        async def send(self, sender: str, recipient: str, message: Octets, **more: Any) -> Outcome:
            if recipient != home.email:
                return await super().send(sender, recipient, message, **more)
            await asyncio.to_thread(and_disconnect, remove)
            return Refused("5.1.1")

    first, second = (Message("", MESSAGE + octets, "x", "LMTP") for octets in (b"1", b"2"))
    with Process(Removes()) as process:
        assert process.take(first, resolve(alias.address)) is Answer.REFUSED
        assert not process.ledger._unwritten
        assert process.take(second, resolve(other.address)) is Answer.DONE


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_deadlock_with_another_transaction_fails_nobody(alice: User) -> None:
    aliases = [issue(owner=alice) for _ in range(2)]
    home = EmailAddress.objects.get(email="alice@example.com")
    entries = [Redirected(alias.pk, home.pk, "", time.monotonic() + 20) for alias in aliases]
    values = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    given = {name: values[name] for name in names if name in values}

    async def write(process: Process, own: psycopg.Connection) -> None:
        lock = "SELECT FROM aliases_alias WHERE id = %s FOR UPDATE"
        own.execute(lock, [aliases[1].pk])
        writing = asyncio.gather(*(process.ledger.write(entry) for entry in entries))
        await asyncio.sleep(0.4)
        await asyncio.to_thread(own.execute, lock, [aliases[0].pk])
        own.rollback()
        await writing

    with psycopg.connect(**given) as own, Process(Hop()) as process:
        process.runner.run(write(process, own))

    assert list(Alias.objects.values_list("forwards", flat=True)) == [1, 1]
