"""New senders are noted at the price that is promised, and no further than to a limit."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Admits, Alias, SenderAnswer, SenderDomain
from aliases.models.sender import SENDERS_MAX
from contacts.book import add_contact
from contacts.models import Contact
from contacts.senders import answer
from mail.delivery import senders
from mail.delivery.blocks import blocks
from mail.delivery.database import TooLate
from mail.delivery.entries import Redirected
from mail.delivery.handover import Answer, Head, Message
from mail.delivery.resolve import resolve
from mail.delivery.screening import screen
from mail.delivery.senders import NotedSenders, Sender, sender_of
from mail.models import Activity, Event
from tests.rig.mail_doors import Hop, Process

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice, hostname="https://www.shop.co.uk/x")


@pytest.fixture(autouse=True)
def _no_blocks_of_other_tests(db: None) -> Iterator[None]:
    yield
    blocks.write()


@pytest.fixture
def process(settings: Settings) -> Iterator[Process]:
    with Process(Hop()) as running:
        yield running


def head(author: str, found: str = "") -> Head:
    fields = [("authentication-results", f"mx.example.com; {found}")] if found else []
    return Head("b@envelope.net", [*fields, ("from", author)], "x", "SMTP")


def message(author: str) -> Message:
    return Message("b@envelope.net", f"From: {author}\r\n\r\nHi\r\n".encode(), "x", "SMTP")


@pytest.mark.parametrize(
    ("author", "found", "sender"),
    [
        ("Shop <a@SHOP.co.uk>", "", ("shop.co.uk", False)),
        ("a@mail.shop.co.uk", "dkim=pass header.d=shop.co.uk", ("shop.co.uk", True)),
        ("a@bücher.de", "", ("xn--bcher-kva.de", False)),
        ("a@mailer.net", "dkim=pass header.d=x.shop.co.uk", ("shop.co.uk", True)),
        ("a@mailer.net", "dkim=fail header.d=shop.co.uk", ("mailer.net", False)),
        ("a@b.mailer.net", "dmarc=pass header.from=b.mailer.net", ("mailer.net", True)),
        ("a@mailer.net", "spf=pass smtp.mailfrom=x@b.mailer.net", ("mailer.net", True)),
        ("a@mailer.net", "spf=pass smtp.mailfrom=x@other.net", ("mailer.net", False)),
        # Somebody's own page at a host of pages is not the host.
        ("a@eve.github.io", "", ("eve.github.io", False)),
        ("a@shop.co.uk", "dmarc=fail; dkim=pass header.d=lists.org", ("lists.org", True)),
        ("a@shop.co.uk", "dmarc=fail", None),
        # Names without a public suffix, and none at all.
        ("a@localhost", "", None),
        ("a@[192.0.2.1]", "", None),
        ("a@co.uk", "", None),
    ],
)
def test_who_speaks_in_a_message(
    settings: Settings, author: str, found: str, sender: tuple[str, bool] | None
) -> None:
    settings.MAIL_AUTHSERV_IDS = ["mx.example.com"]

    assert sender_of(head(author, found), "shop.co.uk") == (sender and Sender(*sender))


def test_results_that_nobody_trusts_prove_nothing(settings: Settings) -> None:
    settings.MAIL_AUTHSERV_IDS = []

    found = sender_of(head("a@mailer.net", "dkim=pass header.d=shop.co.uk"), "shop.co.uk")

    assert found == Sender("mailer.net", False)


def statements(process: Process, alias: Alias, author: str) -> tuple[int, int]:
    """How many statements about senders, and in all, a redirected message to the alias takes."""
    resolution = resolve(alias.address)
    seen: list[str] = []

    def counted(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    answer_all, write = process.lookups.answer_all, process.ledger.answer_all

    def watched(answers: Any) -> Any:
        def call(items: Any) -> Any:
            with connection.execute_wrapper(counted):
                return answers(items)

        return call

    process.lookups.answer_all, process.ledger.answer_all = watched(answer_all), watched(write)
    try:
        process.runner.run(process.forwarder.redirect(head(author), resolution, alias.pk))
    finally:
        process.lookups.answer_all, process.ledger.answer_all = answer_all, write
    about = [sql for sql in seen if "senderdomain" in sql and 'aliases_alias"' not in sql]
    return len(about), len(seen)


def test_a_known_sender_costs_nothing_and_a_new_one_two_statements(process: Process, alice: User) -> None:
    without = issue(owner=alice)
    with_site = issue(owner=alice, hostname="shop.co.uk")
    about, usual = statements(process, without, "a@stranger.biz")
    assert about == 0

    assert statements(process, with_site, "a@shop.co.uk") == (0, usual)
    assert statements(process, with_site, "a@stranger.biz") == (2, usual + 2)
    assert statements(process, with_site, "b@stranger.biz") == (0, usual)
    # Another process asks once.
    with Process(Hop()) as other:
        assert statements(other, with_site, "a@stranger.biz") == (1, usual + 1)
        assert statements(other, with_site, "a@stranger.biz") == (0, usual)


def test_many_new_senders_at_one_moment_are_noted_in_two_statements(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    aliases = [issue(owner=alice, hostname="shop.co.uk") for _ in range(3)]
    heard = {(alias.pk, f"stranger{number}.biz"): False for alias in aliases for number in range(5)}
    noted = NotedSenders()

    with transaction.atomic(), django_assert_num_queries(2):
        noted.note(heard)
    noted.remember(heard)
    with transaction.atomic(), django_assert_num_queries(0):
        noted.note(heard)

    assert SenderDomain.objects.count() == 15


def test_a_process_asks_again_after_a_while(alias: Alias, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = {(alias.pk, "stranger.biz"): True}
    noted = NotedSenders()
    noted.note(heard)
    noted.remember(heard)
    SenderDomain.objects.all().delete()

    noted.note(heard)
    assert not SenderDomain.objects.exists()
    now = senders.time.monotonic()
    monkeypatch.setattr(senders.time, "monotonic", lambda: now + senders.REMEMBERED + 1)
    noted.note(heard)

    assert SenderDomain.objects.get().domain == "stranger.biz"


def test_what_was_rolled_back_is_noted_the_next_time(
    process: Process, alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # Too late: nothing is written.
        patch.setattr("mail.delivery.forward.ANSWER_TIMEOUT", -1.0)
        with pytest.raises(TooLate):
            process.runner.run(
                process.forwarder.redirect(head("a@stranger.biz"), resolve(alias.address), alias.pk)
            )
    assert not SenderDomain.objects.exists()

    process.runner.run(process.forwarder.redirect(head("a@stranger.biz"), resolve(alias.address), alias.pk))

    assert SenderDomain.objects.get().domain == "stranger.biz"


def test_senders_from_ever_new_domains_fill_no_table(alias: Alias, alice: User) -> None:
    other = issue(owner=alice, hostname="shop.co.uk")
    noted = NotedSenders()
    for start in range(0, 3 * SENDERS_MAX, 50):
        noted.note({(alias.pk, f"stranger{start + number}.biz"): False for number in range(50)})
    noted.note({(other.pk, "stranger1.biz"): False})

    assert alias.sender_domains.count() == SENDERS_MAX
    assert other.sender_domains.count() == 1


def test_what_remembers_senders_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "REMEMBERED_MAX", 10)
    noted = NotedSenders()

    for number in range(100):
        noted.remember({(1, f"stranger{number}.biz"): False})

    assert len(noted._until) <= 10


def test_an_alias_that_is_gone_takes_nobody_elses_note_with_it(alias: Alias, process: Process) -> None:
    home = alias.destination_addresses[0].pk
    entries = [
        Redirected(key, home, "a@stranger.biz", float("inf"), None, Sender("stranger.biz", False))
        for key in (alias.pk, alias.pk + 1000)
    ]

    async def write() -> list[object]:
        return await asyncio.gather(*map(process.ledger.write, entries), return_exceptions=True)

    first, second = process.runner.run(write())

    assert first is None
    assert isinstance(second, Exception)
    assert [sender.alias_id for sender in SenderDomain.objects.all()] == [alias.pk]


def test_a_block_of_a_domain_holds_without_the_website_too(process: Process, alias: Alias) -> None:
    sender = SenderDomain.objects.create(alias=alias, domain="stranger.biz")
    answer(sender, SenderAnswer.BLOCK)
    alias.edit(hostname="")

    assert process.take(message("a@x.stranger.biz"), resolve(alias.address)) is Answer.UNKNOWN
    assert process.take(message("a@other.biz"), resolve(alias.address)) is Answer.DONE

    blocks.write()
    alias.refresh_from_db()
    assert (alias.forwards, alias.blocks) == (1, 1)


@pytest.mark.parametrize("admits", [Admits.KNOWN, Admits.KNOWN_LATER])
def test_people_the_owner_knows_and_the_website_come_through(
    process: Process, alias: Alias, admits: Admits
) -> None:
    alias.edit(admits=admits)
    add_contact(alias, "bob@friends.org")
    fine, _asked = (
        SenderDomain.objects.create(alias=alias, domain=domain) for domain in ("fine.com", "asked.com")
    )
    answer(fine, SenderAnswer.FINE)
    refused = Answer.UNKNOWN if admits == Admits.KNOWN else Answer.PAUSED

    answers = {
        author: process.take(message(author), resolve(alias.address))
        for author in ("a@shop.co.uk", "a@fine.com", "bob@friends.org", "eve@friends.org", "a@asked.com")
    }

    assert list(answers.values()) == [Answer.DONE] * 3 + [refused] * 2


def test_a_blocked_contact_of_a_fine_sender_stays_blocked(process: Process, alias: Alias) -> None:
    contact, _existed = add_contact(alias, "eve@shop.co.uk")
    contact.block()
    alias.edit(admits=Admits.KNOWN)

    assert process.take(message("eve@shop.co.uk"), resolve(alias.address)) is Answer.UNKNOWN


def test_only_known_ones_leaves_out_who_became_a_contact_by_writing(alias: Alias) -> None:
    sender = SenderDomain.objects.create(alias=alias, domain="stranger.biz")
    added, _existed = add_contact(alias, "ann@stranger.biz")
    wrote, answered, elsewhere = (
        add_contact(alias, address)[0]
        for address in ("eve@mail.stranger.biz", "jo@stranger.biz", "x@notstranger.biz")
    )
    Contact.objects.filter(pk__in=[wrote.pk, answered.pk, elsewhere.pk]).update(forwards=1)
    Contact.objects.filter(pk=answered.pk).update(replies=1)

    answer(sender, SenderAnswer.ONLY_KNOWN)

    assert set(Contact.objects.waiting_for_owner()) == {wrote, elsewhere}
    answer(sender, SenderAnswer.FINE)
    assert set(Contact.objects.waiting_for_owner()) == {elsewhere}
    assert Contact.objects.admitted().count() == 3
    assert added in Contact.objects.admitted()


def test_screening_names_the_sender_of_an_alias_with_a_website_alone(process: Process, alice: User) -> None:
    for hostname, sender in (("", None), ("shop.co.uk", Sender("stranger.biz", False)), ("localhost", None)):
        alias = issue(owner=alice, hostname=hostname)
        screened = process.runner.run(screen(process.lookups, head("a@stranger.biz"), resolve(alias.address)))
        assert screened.sender == sender


def test_activity_says_which_sender_it_was(process: Process, alias: Alias) -> None:
    for author in ("a@shop.co.uk", "a@mail.stranger.biz"):
        assert process.take(message(author), resolve(alias.address)) is Answer.DONE

    assert list(Activity.objects.order_by("pk").values_list("sender_domain", flat=True)) == [
        "",
        "stranger.biz",
    ]


def test_senders_are_forgotten_with_their_last_activity_unless_the_owner_has_decided(alias: Alias) -> None:
    for domain, given in (
        ("asked.biz", ""),
        ("known.biz", "known"),
        ("fine.biz", "fine"),
        ("blocked.biz", "block"),
    ):
        SenderDomain.objects.create(alias=alias, domain=domain, answer=given)
    seen = timezone.now() + timedelta(days=20)
    Activity.objects.create(alias=alias, event=Event.FORWARD, sender_domain="asked.biz", moment=seen)

    left = []
    for days in (29, 31, 51):
        with time_machine.travel(timezone.now() + timedelta(days=days), tick=False):
            call_command("prune_activity", verbosity=0)
            left.append(sorted(alias.sender_domains.values_list("domain", flat=True)))

    decided = ["blocked.biz", "fine.biz"]
    assert left == [["asked.biz", *decided, "known.biz"], ["asked.biz", *decided], decided]


def test_resolving_still_takes_one_statement(alias: Alias) -> None:
    resolve(alias.address)

    with CaptureQueriesContext(connection) as queries:
        found = resolve(alias.address)

    assert len([query for query in queries if "aliases_alias" in query["sql"]]) == 1
    assert (found.site, found.has_blocked_domains) == ("shop.co.uk", False)
