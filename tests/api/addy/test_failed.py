"""addy.io's calls about failed deliveries."""

from datetime import UTC, datetime, timedelta

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone

from accounts.models import AddressChange, User
from aliases.issuing import issue
from aliases.models import Alias
from api.addy.ids import public_id
from contacts.book import add_contact
from mail.delivery.next_hop import Pending
from mail.delivery.return_path import read_return_path
from mail.models import Activity, FailedDelivery, ReturnedMessage
from tests.api.addy.calls import NOBODY
from tests.conftest import Api
from tests.rig.mail_doors import Hop

pytestmark = pytest.mark.django_db

LIST = "/api/v1/failed-deliveries"


def fail(alias: Alias, **about: object) -> Activity:
    destination = EmailAddress.objects.get(user=alias.owner)
    return Activity.objects.create(**{"alias": alias, "event": "bounce", "destination": destination, **about})


def test_an_entry_has_addys_keys(alice: User, api: Api) -> None:
    alias = issue(owner=alice)
    destination = EmailAddress.objects.get(user=alice)
    moment = datetime(2026, 11, 26, 12, 0, 1, 500, tzinfo=UTC)
    failed = fail(
        alias, sender="shop@sender.test", status="5.2.2", reason="552 5.2.2 Mailbox full", moment=moment
    )
    ReturnedMessage.keep(failed, b"Subject: x\r\n\r\n")
    key = public_id("failed delivery", failed.pk)
    client = api(alice)

    listed = client.get(LIST).json()
    one = client.get(f"{LIST}/{key}").json()

    assert listed["data"] == [one["data"]]
    assert listed["meta"]["total"] == listed["meta"]["to"] == 1
    assert one["data"] == {
        "id": str(key),
        "user_id": str(public_id("user", alice.pk)),
        "recipient_id": str(public_id("recipient", destination.pk)),
        "recipient_email": "alice@example.com",
        "alias_id": str(alias.uuid),
        "alias_email": alias.address,
        "bounce_type": "hard",
        "remote_mta": "",
        "sender": "shop@sender.test",
        "destination": "alice@example.com",
        "ir_dedupe_key": None,
        "type": "outbound",
        "email_type": "F",
        "email_type_text": "Forward",
        "status": "5.2.2",
        "code": "552 5.2.2 Mailbox full",
        "is_stored": True,
        "quarantined": False,
        "resent": False,
        "attempted_at": "2026-11-26 12:00:01",
        "created_at": "2026-11-26 12:00:01",
        "updated_at": "2026-11-26 12:00:01",
    }


def test_a_reply_that_came_back_is_told_as_one(alice: User, api: Api) -> None:
    alias = issue(owner=alice)
    contact, _existed = add_contact(alias, "jane@shop.test")
    fail(alias, destination=None, contact=contact, is_reply=True, sender="jane@shop.test", status="5.1.1")

    (row,) = api(alice).get(LIST).json()["data"]

    assert (row["email_type"], row["email_type_text"]) == ("R", "Reply")
    assert (row["sender"], row["destination"]) == (alias.address, "jane@shop.test")
    assert row["recipient_id"] is None


def test_what_is_unknown_is_null_or_empty_where_addys_app_needs_a_text(alice: User, api: Api) -> None:
    fail(issue(owner=alice), destination=None)

    (row,) = api(alice).get(LIST).json()["data"]

    unknown = ("recipient_id", "recipient_email", "sender", "destination")
    assert {row[name] for name in unknown} == {None}
    assert {row[name] for name in ("bounce_type", "remote_mta", "status", "code")} == {""}


def test_the_list_has_pages_and_a_filter(alice: User, api: Api) -> None:
    alias = issue(owner=alice)
    for number in range(5):
        fail(alias, sender=f"s{number}@sender.test")
    Activity.objects.create(alias=alias, event="forward")
    client = api(alice)

    pages = [client.get(f"{LIST}?page[size]=2&page[number]={number}").json() for number in (1, 3, 4)]
    totals = [
        client.get(f"{LIST}?filter[email_type]={kind}").json()["meta"]["total"]
        for kind in ("", "outbound", "inbound", "inbound_quarantined")
    ]

    assert [[row["sender"][:2] for row in page["data"]] for page in pages] == [["s4", "s3"], ["s0"], []]
    assert pages[0]["meta"]["total"] == 5
    assert pages[0]["links"]["next"].endswith("page%5Bnumber%5D=2")
    assert totals == [5, 5, 0, 0]
    assert client.get(f"{LIST}?filter[email_type]=x").status_code == 422


def test_deleting_takes_the_message_too(alice: User, api: Api) -> None:
    failed = fail(issue(owner=alice))
    ReturnedMessage.keep(failed, b"Subject: x\r\n\r\n")

    answer = api(alice).delete(f"{LIST}/{public_id('failed delivery', failed.pk)}")

    assert answer.status_code == 204
    assert not FailedDelivery.objects.exists()
    assert not ReturnedMessage.objects.exists()


def test_a_strangers_and_an_unknown_entry_are_the_same_nothing(alice: User, root: User, api: Api) -> None:
    theirs = fail(issue(owner=root, domain="example.com"))
    forwarded = Activity.objects.create(alias=issue(owner=alice), event="forward")
    client = api(alice)
    ids = [public_id("failed delivery", row.pk) for row in (theirs, forwarded)]

    answers = [
        getattr(client, method)(f"{LIST}/{key}") for key in (*ids, NOBODY) for method in ("get", "delete")
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.content for answer in answers} == {b'{"message":"There is no such failed delivery."}'}
    assert Activity.objects.count() == 2
    assert client.get(LIST).json()["data"] == []


MESSAGE = b"From: r.a@example.com\r\nSubject: Hi\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"


@pytest.fixture
def hop(monkeypatch: pytest.MonkeyPatch) -> Hop:
    hop = Hop()
    monkeypatch.setattr("mail.delivery.resending.configured_next_hop", lambda: hop)
    return hop


@pytest.fixture
def kept(alice: User) -> Activity:
    """A message that alice's second address has refused; her alias forwards to both."""
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias = issue(owner=alice, destinations=[alice.email, home.email])
    failed = Activity.objects.create(alias=alias, event="bounce", destination=home)
    ReturnedMessage.keep(failed, MESSAGE)
    return failed


def of(failed: Activity, deed: str) -> str:
    return f"{LIST}/{public_id('failed delivery', failed.pk)}/{deed}"


def test_a_message_is_sent_again_to_where_it_was_to_go(
    alice: User, kept: Activity, hop: Hop, api: Api
) -> None:
    client = api(alice)

    assert [client.post(of(kept, "resend")).status_code for _ in range(2)] == [204, 204]

    assert {(recipient, content) for _sender, recipient, content in hop.sent} == {
        ("alice@home.test", MESSAGE)
    }
    # If it comes back again, that is another failed delivery.
    tags = [
        read_return_path(local_part, domain, timezone.now())
        for local_part, _at, domain in (sender.partition("@") for sender, _to, _content in hop.sent)
    ]
    assert {(tag.alias_id, tag.destination_id) for tag in tags if tag} == {
        (kept.alias_id, kept.destination_id)
    }
    assert len({tag.report for tag in tags if tag}) == 2


def test_or_to_other_addresses_of_ones_own(
    alice: User, root: User, kept: Activity, hop: Hop, api: Api
) -> None:
    client = api(alice)
    EmailAddress.objects.create(user=alice, email="alice@work.test", verified=False)
    mine, unverified, theirs = (
        str(public_id("recipient", EmailAddress.objects.get(email=email).pk))
        for email in (alice.email, "alice@work.test", root.email)
    )

    for wrong in ([theirs], [unverified], [mine, "x"], "x"):
        answer = client.post(of(kept, "resend"), {"recipient_ids": wrong}, format="json")
        assert answer.status_code == 422
        assert set(answer.json()["errors"]) == {"recipient_ids"}
    assert hop.sent == []
    assert client.post(of(kept, "resend"), {"recipient_ids": [mine]}, format="json").status_code == 204
    assert [recipient for _sender, recipient, _content in hop.sent] == [alice.email]


def test_if_the_destination_is_gone_it_goes_to_the_others(
    alice: User, kept: Activity, hop: Hop, api: Api
) -> None:
    kept.alias.set_destinations([alice.email])

    assert api(alice).post(of(kept, "resend")).status_code == 204

    assert [recipient for _sender, recipient, _content in hop.sent] == [alice.email]


def test_an_address_that_a_token_has_added_since_gets_nothing(
    alice: User, kept: Activity, hop: Hop, api: Api
) -> None:
    """Whoever finds a token could have an address of their own verified, and read what came back before."""
    added = EmailAddress.objects.create(user=alice, email="alice@evil.test", verified=True)
    change = AddressChange.objects.record(alice, AddressChange.Kind.ADDED, added, by_api=True)
    client = api(alice)
    chosen = {"recipient_ids": [str(public_id("recipient", added.pk))]}

    def resent() -> int:
        return client.post(of(kept, "resend"), chosen, format="json").status_code

    kept.alias.set_destinations([added.email])
    assert (resent(), client.post(of(kept, "resend")).status_code) == (422, 422)
    assert hop.sent == []
    AddressChange.objects.filter(pk=change.pk).update(at=kept.moment - timedelta(seconds=1))
    assert (resent(), client.post(of(kept, "resend")).status_code) == (204, 204)
    assert {recipient for _sender, recipient, _content in hop.sent} == {added.email}


def test_it_is_sent_again_thirty_times_an_hour(alice: User, kept: Activity, hop: Hop, api: Api) -> None:
    client = api(alice)

    codes = [client.post(of(kept, "resend")).status_code for _again in range(31)]

    assert codes == [204] * 30 + [429]
    assert len(hop.sent) == 30


def test_what_is_not_kept_or_not_taken_is_not_sent(
    alice: User, root: User, kept: Activity, hop: Hop, api: Api
) -> None:
    hop.answers["alice@home.test"] = Pending("busy")
    client = api(alice)

    away = client.post(of(kept, "resend"))
    assert api(root).post(of(kept, "resend")).status_code == 404
    ReturnedMessage.objects.all().delete()
    gone = client.post(of(kept, "resend"))

    assert (away.status_code, gone.status_code) == (422, 404)
    assert away.json()["message"] == "The message could not be sent just now. Try again later."
    assert gone.json() == {"message": "The message is not kept."}
    assert hop.sent == []


def test_no_token_can_read_a_message(alice: User, root: User, kept: Activity, api: Api) -> None:
    """Whoever finds a token would read the person's mail; the page asks for a recent sign-in."""
    answer = api(alice).get(of(kept, "download"))

    assert answer.status_code == 403
    assert "/failed-deliveries/" in answer.json()["message"]
    assert api(root).get(of(kept, "download")).status_code == 404


def test_a_reply_is_not_sent_to_its_author(alice: User, hop: Hop, api: Api) -> None:
    alias = issue(owner=alice)
    contact, _existed = add_contact(alias, "jane@shop.test")
    failed = fail(alias, destination=None, contact=contact, is_reply=True)
    ReturnedMessage.keep(failed, MESSAGE)

    answer = api(alice).post(of(failed, "resend"))

    assert answer.status_code == 422
    assert "not your replies" in answer.json()["message"]
    assert hop.sent == []
