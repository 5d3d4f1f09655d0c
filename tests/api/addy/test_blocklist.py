"""addy.io's list of blocked senders."""

from typing import Any

import pytest

from accounts.models import User
from aliases.issuing import issue
from api.addy.ids import public_id
from contacts.book import add_contact
from contacts.models import Contact
from tests.api.addy.calls import NOBODY
from tests.conftest import Api

pytestmark = pytest.mark.django_db

LIST = "/api/v1/blocklist"


def test_an_address_is_blocked_at_all_aliases_listed_once_and_taken_again(alice: User, api: Api) -> None:
    one, two = issue(owner=alice), issue(owner=alice)
    for alias in (one, two):
        add_contact(alias, "spam@shop.test")
    add_contact(one, "jane@shop.test")
    Contact.objects.update(blocks=2)
    client = api(alice)

    made = client.post(LIST, {"type": "email", "value": " Spam@SHOP.test "}, format="json")
    listed = client.get(LIST).json()
    blocked = Contact.objects.filter(blocked=True)
    addresses = set(blocked.values_list("address", flat=True))
    (row,) = listed["data"]
    ended = client.delete(f"{LIST}/{row['id']}")

    assert made.status_code == 201
    assert made.json()["data"] == row
    assert addresses == {"spam@shop.test"}
    assert row == {
        "id": str(public_id("blocked", "spam@shop.test")),
        "user_id": str(public_id("user", alice.pk)),
        "value": "spam@shop.test",
        "type": "email",
        "blocked": 4,
        "last_blocked": None,
        "created_at": row["created_at"],
        "updated_at": row["created_at"],
    }
    assert listed["meta"]["total"] == 1
    assert ended.status_code == 204
    assert not blocked.exists()


@pytest.mark.parametrize(
    ("body", "field", "sentence"),
    [
        ({"type": "domain", "value": "shop.test"}, "type", "Only addresses can be blocked on this server."),
        ({"type": "x", "value": "a@b.test"}, "type", "“type” must be one of: email, domain."),
        ({"type": "email"}, "value", "The field “value” is required."),
        ({"type": "email", "value": "nonsense"}, "value", "This is not a valid e-mail address."),
        ({"value": "a@b.test"}, "value", "None of your aliases has a contact with this address."),
        ({"value": "theirs@shop.test"}, "value", "None of your aliases has a contact with this address."),
    ],
)
def test_what_cannot_be_blocked_is_refused_by_its_field(
    alice: User, root: User, api: Api, body: dict[str, str], field: str, sentence: str
) -> None:
    add_contact(issue(owner=root, domain="example.com"), "theirs@shop.test")

    answer = api(alice).post(LIST, body, format="json")

    assert answer.status_code == 422
    assert answer.json() == {"message": sentence, "errors": {field: [sentence]}}
    assert not Contact.objects.filter(blocked=True).exists()


def test_a_strangers_entry_does_not_exist(alice: User, root: User, api: Api) -> None:
    theirs, _existed = add_contact(issue(owner=root, domain="example.com"), "spam@shop.test")
    theirs.block()
    client = api(alice)

    answers = [client.delete(f"{LIST}/{key}") for key in (public_id("blocked", "spam@shop.test"), NOBODY)]

    assert {answer.status_code for answer in answers} == {404}
    assert client.get(LIST).json()["data"] == []
    assert Contact.objects.get().blocked


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["c2", "c1", "c0"]),
        ("sort=created_at", ["c0", "c1", "c2"]),
        ("sort=-value", ["c2", "c1", "c0"]),
        ("sort=value", ["c0", "c1", "c2"]),
        ("sort=-blocked", ["c0", "c1", "c2"]),
        ("filter[search]=C1", ["c1"]),
        ("filter[type]=email", ["c2", "c1", "c0"]),
        ("filter[type]=domain", []),
        ("page[size]=2&page[number]=2", ["c0"]),
    ],
)
def test_the_list_is_searched_sorted_and_paged(alice: User, api: Api, query: str, found: list[str]) -> None:
    alias = issue(owner=alice)
    for number in range(3):
        contact, _existed = add_contact(alias, f"c{number}@shop.test")
        Contact.objects.filter(pk=contact.pk).update(blocked=True, blocks=5 - number)

    rows = api(alice).get(f"{LIST}?{query}").json()["data"]

    assert [row["value"].partition("@")[0] for row in rows] == found


def test_many_are_blocked_and_taken_again_at_once(alice: User, api: Api) -> None:
    alias = issue(owner=alice)
    for name in ("a", "b", "c"):
        add_contact(alias, f"{name}@shop.test")
    Contact.objects.get(address="c@shop.test").block()
    client = api(alice)
    values = ["A@shop.test", "b@shop.test", "a@shop.test", "c@shop.test"]

    made = client.post(f"{LIST}/store/bulk", {"type": "email", "values": values}, format="json")
    listed = [row["id"] for row in client.get(f"{LIST}?sort=value").json()["data"]]
    ended = client.post(f"{LIST}/delete/bulk", {"ids": [*listed[:2], NOBODY]}, format="json")
    none = client.post(f"{LIST}/delete/bulk", {"ids": listed[:2]}, format="json")

    assert made.status_code == 201
    assert [row["value"] for row in made.json()["data"]] == ["a@shop.test", "b@shop.test"]
    assert (made.json()["message"], made.json()["skipped"]) == ("2 entries added to the blocklist.", 1)
    assert ended.json() == {"message": "2 entries removed from the blocklist.", "ids": listed[:2]}
    assert (none.status_code, none.json()) == (404, {"message": "There is no such entry."})
    assert [row.address for row in Contact.objects.filter(blocked=True)] == ["c@shop.test"]


@pytest.mark.parametrize(
    ("deed", "body", "field"),
    [
        ("store", {"type": "domain", "values": ["shop.test"]}, "type"),
        ("store", {"type": "email", "values": ["a@shop.test", "nonsense"]}, "values.1"),
        ("store", {"type": "email", "values": ["stranger@shop.test"]}, "values.0"),
        ("store", {"type": "email", "values": []}, "values"),
        ("store", {"type": "email", "values": ["a@shop.test"] * 51}, "values"),
        ("store", {"type": "email", "values": [1]}, "values"),
        ("store", {"type": "email", "values": "a@shop.test"}, "values"),
        ("store", {"type": "email"}, "values"),
        ("delete", {"ids": []}, "ids"),
        ("delete", {"ids": ["x"]}, "ids"),
        ("delete", {"ids": [NOBODY] * 501}, "ids"),
    ],
)
def test_if_one_of_many_is_wrong_none_is_changed(
    alice: User, api: Api, deed: str, body: dict[str, Any], field: str
) -> None:
    add_contact(issue(owner=alice), "a@shop.test")

    answer = api(alice).post(f"{LIST}/{deed}/bulk", body, format="json")

    assert answer.status_code == 422
    assert set(answer.json()["errors"]) == {field}
    assert not Contact.objects.filter(blocked=True).exists()
