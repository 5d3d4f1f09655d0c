"""SimpleLogin's calls for contacts and their reverse aliases."""

from datetime import UTC, datetime

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasPreferences
from contacts.book import add_contact
from contacts.models import Contact
from mail.models import Activity
from tests.conftest import Api
from tokens.models import Token
from tokens.scopes import Scope

pytestmark = pytest.mark.django_db


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


def url(alias: Alias, query: str = "?page_id=0") -> str:
    return f"/api/aliases/{alias.pk}/contacts{query}"


def test_a_contact_has_simplelogins_keys(alice: User, alias: Alias, api: Api) -> None:
    client = api(alice)

    made = client.post(url(alias, ""), {"contact": '"Jane Doe" <Jane@Shop.test>'}, format="json")
    again = client.post(url(alias, ""), {"contact": "jane@shop.test"}, format="json")

    contact = Contact.objects.get()
    assert (made.status_code, again.status_code) == (201, 200)
    assert made.json() == {
        "id": contact.pk,
        "contact": "jane@shop.test",
        "reverse_alias": f'"Jane Doe | jane at shop.test" <{contact.reverse_address}>',
        "reverse_alias_address": contact.reverse_address,
        "creation_date": contact.created.strftime("%Y-%m-%d %H:%M:%S+00:00"),
        "creation_timestamp": int(contact.created.timestamp()),
        "last_email_sent_date": None,
        "last_email_sent_timestamp": None,
        "existed": False,
        "block_forward": False,
    }
    assert again.json() == made.json() | {"existed": True}


def test_the_last_email_sent_is_the_last_reply(alice: User, alias: Alias, api: Api) -> None:
    add_contact(alias, "jane@shop.test")
    moment = datetime(2026, 11, 25, 8, 30, 1, tzinfo=UTC)
    Contact.objects.update(last_reply_at=moment, last_forward_at=datetime.now(UTC))

    (row,) = api(alice).get(url(alias)).json()["contacts"]

    assert row["last_email_sent_date"] == "2026-11-25 08:30:01+00:00"
    assert row["last_email_sent_timestamp"] == int(moment.timestamp())


def test_a_token_that_may_not_read_activity_sees_no_last_email(alice: User, alias: Alias) -> None:
    add_contact(alias, "jane@shop.test")
    Contact.objects.update(last_reply_at=datetime.now(UTC))
    _token, secret = Token.objects.issue(owner=alice, name="x", scopes=Scope.MANAGE)

    answer = APIClient(HTTP_AUTHENTICATION=secret).post(
        url(alias, ""), {"contact": "jane@shop.test"}, format="json"
    )

    assert answer.json()["existed"] is True
    assert answer.json()["last_email_sent_date"] is None


def test_the_list_has_twenty_a_page_the_newest_first_until_an_empty_one(
    alice: User, alias: Alias, api: Api
) -> None:
    for number in range(22):
        add_contact(alias, f"c{number}@shop.test")
    client = api(alice)

    pages = [client.get(url(alias, f"?page_id={page}")).json()["contacts"] for page in range(3)]

    assert [len(page) for page in pages] == [20, 2, 0]
    assert [row["contact"] for row in (pages[0][0], pages[1][1])] == ["c21@shop.test", "c0@shop.test"]
    assert client.get(url(alias, "")).status_code == 400


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "The request's body must not be empty."),
        ({"note": "x"}, "This field is required."),
        ({"contact": None}, "This field may not be null."),
        ({"contact": 7}, "The field “contact” must be a string."),
        ({"contact": ""}, "This is not a valid e-mail address."),
        ({"contact": "nonsense"}, "This is not a valid e-mail address."),
        ({"contact": "x" * 100_000}, "This is not a valid e-mail address."),
        ({"contact": "Jane <jane@shop.test> <x@y.test>"}, "This is not a valid e-mail address."),
        (
            {"contact": f"r.{'a' * 26}@example.com"},
            "This is a reverse address. Enter the correspondent's own.",
        ),
        ({"contact": "{alias}"}, "This is the alias itself."),
    ],
)
def test_what_is_no_contact_is_refused(
    alice: User, alias: Alias, api: Api, body: dict[str, object], sentence: str
) -> None:
    if body.get("contact") == "{alias}":
        body = {"contact": alias.address}

    answer = api(alice).post(url(alias, ""), body, format="json")

    assert (answer.status_code, answer.json()) == (400, {"error": sentence})
    assert not Contact.objects.exists()


def test_too_many_contacts_are_429(alice: User, alias: Alias, api: Api, settings: Settings) -> None:
    settings.CONTACTS_PER_DAY = 0

    answer = api(alice).post(url(alias, ""), {"contact": "jane@shop.test"}, format="json")

    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0


def test_a_contact_is_blocked_taken_again_and_deleted(alice: User, alias: Alias, api: Api) -> None:
    contact, _existed = add_contact(alias, "jane@shop.test")
    client = api(alice)
    toggle = f"/api/contacts/{contact.pk}/toggle"

    # As the app for Android sends it.
    assert client.post(toggle, {"dummy": "dummy"}, format="json").json() == {"block_forward": True}
    assert client.get(url(alias)).json()["contacts"][0]["block_forward"] is True
    assert client.post(toggle).json() == {"block_forward": False}
    assert client.delete(f"/api/contacts/{contact.pk}").json() == {"deleted": True}
    assert not Contact.objects.exists()


def test_a_strangers_a_deleted_aliass_and_an_unknown_contact_are_the_same_nothing(
    alice: User, root: User, api: Api
) -> None:
    theirs, _existed = add_contact(issue(owner=root, domain="example.com"), "jane@shop.test")
    deleted = issue(owner=alice)
    of_deleted, _existed = add_contact(deleted, "jane@shop.test")
    deleted.soft_delete()
    client = api(alice)

    answers = [
        answer
        for key in (theirs.pk, of_deleted.pk, 999_999)
        for answer in (client.delete(f"/api/contacts/{key}"), client.post(f"/api/contacts/{key}/toggle"))
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.content for answer in answers} == {b'{"error":"There is no such contact."}'}
    assert Contact.objects.filter(blocked=False).count() == 2


def test_activities_name_the_contact_and_the_way_to_answer(alice: User, alias: Alias, api: Api) -> None:
    contact, _existed = add_contact(alias, "Jane Doe <jane@shop.test>")
    Activity.objects.create(alias=alias, event="forward", sender="jane@shop.test", contact=contact)
    Activity.objects.create(alias=alias, event="reply", sender="alice@example.com", contact=contact)
    client = api(alice)
    reverse_alias = f'"Jane Doe | jane at shop.test" <{contact.reverse_address}>'

    reply, forward = client.get(f"/api/aliases/{alias.pk}/activities?page_id=0").json()["activities"]
    (listed,) = client.get("/api/v2/aliases?page_id=0").json()["aliases"]
    one = client.get(f"/api/aliases/{alias.pk}").json()

    assert (reply["action"], reply["from"], reply["to"]) == ("reply", alias.address, "jane@shop.test")
    assert (forward["action"], forward["from"], forward["to"]) == (
        "forward",
        "jane@shop.test",
        alias.address,
    )
    assert reply["reverse_alias"] == forward["reverse_alias"] == reverse_alias
    assert reply["reverse_alias_address"] == contact.reverse_address
    assert listed["latest_activity"] == one["latest_activity"]
    assert one["latest_activity"]["action"] == "reply"
    assert one["latest_activity"]["contact"] == {
        "email": "jane@shop.test",
        "name": "Jane Doe",
        "reverse_alias": reverse_alias,
    }


@pytest.mark.parametrize("sender_format", ["AT", "A", "NAME_ONLY", "AT_ONLY", "NO_NAME"])
def test_the_sender_format_is_read_changed_and_used(
    alice: User, alias: Alias, api: Api, sender_format: str
) -> None:
    client = api(alice)

    changed = client.patch("/api/setting", {"sender_format": sender_format}, format="json").json()
    read = client.get("/api/setting").json()
    made = client.post(url(alias, ""), {"contact": "jane@shop.test"}, format="json").json()

    assert changed["sender_format"] == read["sender_format"] == sender_format
    assert AliasPreferences.objects.get(user=alice).sender_format == sender_format
    assert ("jane(a)shop.test" in made["reverse_alias"]) is (sender_format == "A")
    # Another setting leaves it alone.
    client.patch("/api/setting", {"alias_generator": "uuid"}, format="json")
    assert client.get("/api/setting").json()["sender_format"] == sender_format
