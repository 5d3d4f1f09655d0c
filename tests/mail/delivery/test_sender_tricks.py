"""What a stranger may try to be taken for somebody known, and whom an owner must not be warned of."""

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Admits, Alias, SenderAnswer, SenderDomain
from contacts.book import add_contact
from contacts.models import Contact
from contacts.senders import answer
from mail.delivery import senders
from mail.delivery.blocks import blocks
from mail.delivery.handover import Answer, Head, Message
from mail.delivery.resolve import resolve
from mail.delivery.senders import NotedSenders, Sender, sender_of
from mail.models import Activity
from tests.rig.mail_doors import Hop, Process

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _server_in_front(settings: Settings) -> Iterator[None]:
    settings.MAIL_AUTHSERV_IDS = ["mx.example.com"]
    yield
    blocks.write()


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice, hostname="shop.com")


@pytest.fixture
def process() -> Iterator[Process]:
    with Process(Hop()) as running:
        yield running


def taken(process: Process, alias: Alias, author: str, found: str = "") -> Answer:
    results = f"Authentication-Results: mx.example.com; {found}\r\n" if found else ""
    content = f"{results}From: {author}\r\n\r\nHi\r\n".encode()
    answered = process.take(Message("b@envelope.net", content, "x", "SMTP"), resolve(alias.address))
    assert isinstance(answered, Answer)
    return answered


def test_a_process_asks_once_an_hour_and_not_ever_after_the_first(
    alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = {(alias.pk, "stranger.biz"): True}
    noted = NotedSenders()
    noted.note(heard)
    noted.remember(heard)
    now = senders.time.monotonic()
    monkeypatch.setattr(senders.time, "monotonic", lambda: now + senders.REMEMBERED + 1)

    counts = []
    for _message in range(3):
        with CaptureQueriesContext(connection) as queries:
            noted.note(heard)
            noted.remember(heard)
        counts.append(len(queries))

    assert counts == [1, 0, 0]


@pytest.mark.parametrize(
    ("author", "sender"),
    [
        ("win@stranger.biz", Sender("stranger.biz", False, is_disowned=True)),
        ("forger@shop.com", None),
        ("a@localhost", None),
    ],
)
def test_failing_dmarc_of_ones_own_hides_nobody(author: str, sender: Sender | None) -> None:
    fields = [("authentication-results", "mx.example.com; dmarc=fail"), ("from", author)]

    assert sender_of(Head("b@envelope.net", fields, "x", "SMTP"), "shop.com") == sender


@pytest.mark.parametrize("found", ["dmarc=fail", "dmarc=fail; dkim=pass header.d=throwaway.net", ""])
@pytest.mark.parametrize("hides_replies", [False, True])
def test_a_blocked_sender_gets_by_under_no_other_signature(
    process: Process, alias: Alias, found: str, hides_replies: bool
) -> None:
    alias.edit(hides_replies=hides_replies)
    answer(SenderDomain.objects.create(alias=alias, domain="stranger.biz"), SenderAnswer.BLOCK)

    assert taken(process, alias, "win@stranger.biz", found) is Answer.UNKNOWN
    # What the website has signed is the website's.
    signed = "dkim=pass header.d=shop.com"
    assert taken(process, alias, "shop@stranger.biz", signed) is Answer.DONE


def test_fine_holds_without_the_website_but_for_no_forger(process: Process, alias: Alias) -> None:
    answer(SenderDomain.objects.create(alias=alias, domain="mailer.net"), SenderAnswer.FINE)
    alias.edit(admits=Admits.KNOWN, hostname="")

    assert taken(process, alias, "news@mailer.net") is Answer.DONE
    assert taken(process, alias, "forger@mailer.net", "dmarc=fail") is Answer.UNKNOWN


@pytest.mark.parametrize("hides_replies", [False, True])
def test_whoever_answers_the_owners_letter_is_not_new(
    process: Process, alias: Alias, hides_replies: bool
) -> None:
    alias.edit(hides_replies=hides_replies)
    bob, _existed = add_contact(alias, "bob@provider.net")
    Contact.objects.filter(pk=bob.pk).update(replies=1)

    assert taken(process, alias, "bob@provider.net") is Answer.DONE
    assert not SenderDomain.objects.exists()
    assert Activity.objects.get().sender_domain == ""
    # But others at Bob's provider are.
    assert taken(process, alias, "eve@provider.net") is Answer.DONE
    assert SenderDomain.objects.get().domain == "provider.net"


@pytest.mark.parametrize("hides_replies", [False, True])
def test_an_owner_who_tries_the_alias_is_not_new(process: Process, alias: Alias, hides_replies: bool) -> None:
    alias.edit(hides_replies=hides_replies)
    (own,) = alias.destination_addresses

    assert taken(process, alias, f"Alice <{own.email.title()}>") is Answer.DONE
    assert not SenderDomain.objects.exists()


def test_whoever_may_write_to_an_alias_for_known_people_is_not_new(process: Process, alias: Alias) -> None:
    add_contact(alias, "ann@friends.org")
    alias.edit(admits=Admits.KNOWN)

    assert taken(process, alias, "ann@friends.org") is Answer.DONE
    assert not SenderDomain.objects.exists()


def test_only_known_ones_leaves_out_those_who_wrote_when_no_more_were_marked(alias: Alias) -> None:
    marked, fine = (
        SenderDomain.objects.create(alias=alias, domain=domain) for domain in ("stranger.biz", "fine.com")
    )
    answer(fine, SenderAnswer.FINE)
    for address in ("a@stranger.biz", "a@number101.biz", "a@fine.com", "a@mail.shop.com", "friend@x.org"):
        add_contact(alias, address)
    Contact.objects.update(forwards=1)
    Contact.objects.filter(address="friend@x.org").update(replies=1)

    answer(marked, SenderAnswer.ONLY_KNOWN)

    waiting = Contact.objects.waiting_for_owner().values_list("address", flat=True)
    assert set(waiting) == {"a@stranger.biz", "a@number101.biz"}


def test_only_known_ones_lets_nobody_more_wait_where_it_was_so(alias: Alias) -> None:
    marked = SenderDomain.objects.create(alias=alias, domain="stranger.biz")
    alias.edit(admits=Admits.KNOWN)
    for address in ("a@stranger.biz", "admitted@x.org"):
        add_contact(alias, address)
    Contact.objects.update(forwards=1)

    answer(marked, SenderAnswer.ONLY_KNOWN)

    assert Contact.objects.waiting_for_owner().get().address == "a@stranger.biz"
