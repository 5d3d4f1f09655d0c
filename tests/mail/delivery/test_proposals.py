"""Messages that go on at once if nothing speaks against it: asked about and begun by one thread in one go."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from allauth.account.models import EmailAddress

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.delivery import proposals
from mail.delivery.entries import Begun, Settled
from mail.delivery.handover import Answer, Head, Message
from mail.delivery.lookups import CopiesOf
from mail.delivery.proposals import Proposal
from mail.delivery.resolve import our_domains, resolve
from mail.models import Activity, Delivery, PausedDestination
from tests.rig.mail_doors import Hop, Process

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGE = b"From: Bob <bob@sender.test>\r\nSubject: Hi\r\n\r\nHello\r\n"
HOME = "home@home.test"


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


@pytest.fixture
def hop() -> Hop:
    return Hop()


@pytest.fixture
def process(hop: Hop) -> Iterator[Process]:
    with Process(hop) as process:
        yield process


@pytest.fixture
def home(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email=HOME, verified=True)


def asked_of(gatherer: Any) -> list[list[type]]:
    """The kinds of what the gatherer is asked from now on, as it comes together."""
    asked: list[list[type]] = []
    answer_all = gatherer.answer_all

    def watched(items: Sequence[Any]) -> Any:
        asked.append([type(item) for item in items])
        return answer_all(items)

    gatherer.answer_all = watched
    return asked


def take(process: Process, alias: Alias, octets: bytes = b"") -> Answer:
    message = Message("bob@sender.test", MESSAGE + octets, "x", "LMTP", is_queued=True)
    return process.take(message, resolve(alias.address))


def test_a_plain_message_waits_for_one_thread_before_it_is_sent(
    process: Process, alias: Alias, hop: Hop
) -> None:
    lookups, ledger = asked_of(process.lookups), asked_of(process.ledger)

    assert take(process, alias) is Answer.DONE

    # The destination is at a domain of ours: one more statement of the ledger's own.
    assert (lookups, ledger) == ([], [[Proposal], [Settled]])
    assert len(hop.sent) == 1


def test_a_message_to_several_destinations_is_begun_for_all_of_them_together(
    process: Process, alias: Alias, home: EmailAddress, hop: Hop
) -> None:
    alias.set_destinations(["alice@example.com", home.email])
    ledger = asked_of(process.ledger)

    assert take(process, alias) is Answer.DONE

    assert ledger == [[Proposal], [Begun], [Settled], [Settled]]
    assert len(hop.sent) == 2


def test_a_hidden_message_is_composed_before_it_is_begun(process: Process, alias: Alias, hop: Hop) -> None:
    Alias.objects.filter(pk=alias.pk).update(hides_replies=True)
    lookups, ledger = asked_of(process.lookups), asked_of(process.ledger)

    assert take(process, alias) is Answer.DONE

    assert lookups[0] == [CopiesOf]
    assert [Begun] in ledger
    assert [Proposal] not in ledger


def test_an_alias_that_hides_its_owner_only_since_the_recipient_was_accepted_hides_them(
    process: Process, alias: Alias, hop: Hop
) -> None:
    resolution = resolve(alias.address)
    Alias.objects.filter(pk=alias.pk).update(hides_replies=True)

    assert process.take(Message("bob@sender.test", MESSAGE, "x", "LMTP"), resolution) is Answer.DONE

    ((_sender, _recipient, content),) = hop.sent
    assert b"bob@sender.test>" not in content


@pytest.mark.parametrize("is_known", [False, True])
def test_what_speaks_against_it_begins_nothing(
    process: Process, alias: Alias, hop: Hop, is_known: bool
) -> None:
    if is_known:
        assert take(process, alias) is Answer.DONE
    else:
        PausedDestination.objects.create(destination=EmailAddress.objects.get(email="alice@example.com"))
    sent, begun = len(hop.sent), Delivery.objects.count()

    answer = take(process, alias)

    assert answer is (Answer.DONE if is_known else Answer.PAUSED)
    assert (len(hop.sent), Delivery.objects.count()) == (sent, begun)


def test_nothing_is_begun_for_a_destination_that_leads_back_to_us(
    process: Process, alice: User, alias: Alias, home: EmailAddress, hop: Hop
) -> None:
    other = issue(owner=alice)
    EmailAddress.objects.filter(pk=home.pk).update(email=other.address)
    alias.destination_links.update(address=home)
    ledger = asked_of(process.ledger)

    assert take(process, alias) is Answer.REFUSED

    assert ledger[:2] == [[Proposal], [Begun]]
    assert hop.sent == []


def test_any_number_of_messages_is_weighed_in_as_many_statements_as_one(
    alice: User, django_assert_num_queries: Any
) -> None:
    aliases = [issue(owner=alice) for _ in range(5)]
    given = [
        Proposal(CopiesOf(alias.pk, "x"), lambda copy: Begun(1, "x", (copy[0].destination_id,)))
        for alias in aliases
    ]
    our_domains.shared()

    # The copies; and what the destinations are, which are at a domain of ours.
    with django_assert_num_queries(2):
        weighed = proposals.weigh(given)

    assert all(isinstance(each.entry, Begun) for each in weighed)


def test_a_message_that_the_mail_server_in_front_sends_on_waits_for_one_thread(
    process: Process, alias: Alias
) -> None:
    lookups, ledger = asked_of(process.lookups), asked_of(process.ledger)
    head = Head("bob@sender.test", [("from", "bob@sender.test")], "x", "MILTER")

    found = process.runner.run(process.forwarder.redirect(head, resolve(alias.address), alias.pk))

    assert getattr(found, "recipient", None) == "alice@example.com"
    assert (lookups, ledger) == ([], [[Proposal]])
    alias.refresh_from_db()
    assert alias.forwards == 1


def test_one_that_has_to_be_handed_over_is_not_counted(
    process: Process, alias: Alias, home: EmailAddress
) -> None:
    alias.set_destinations(["alice@example.com", home.email])
    head = Head("bob@sender.test", [("from", "bob@sender.test")], "x", "MILTER")

    assert process.runner.run(process.forwarder.redirect(head, resolve(alias.address), alias.pk)) is None

    alias.refresh_from_db()
    assert alias.forwards == 0
    assert not Activity.objects.exists()
