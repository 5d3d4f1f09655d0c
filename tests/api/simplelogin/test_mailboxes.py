"""SimpleLogin's mailboxes: the addresses that aliases forward to."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from tests.conftest import Api

pytestmark = pytest.mark.django_db


def test_mailboxes_are_own_addresses(alice: User, root: User, api: Api) -> None:
    client = api(alice)
    primary = EmailAddress.objects.get(user=alice)
    issue(owner=alice)
    added = client.post("/api/mailboxes", {"email": "Alice@Home.test"}, format="json")
    home = EmailAddress.objects.get(email="alice@home.test")

    assert added.status_code == 201
    assert added.json()["verified"] is False
    assert "messages" not in added.cookies
    assert mail.outbox[0].to == ["alice@home.test"]
    assert [box["email"] for box in client.get("/api/mailboxes").json()["mailboxes"]] == [primary.email]
    everything = client.get("/api/v2/mailboxes").json()["mailboxes"]
    assert [(box["email"], box["default"], box["nb_alias"]) for box in everything] == [
        (primary.email, True, 1),
        ("alice@home.test", False, 0),
    ]
    # What changes nothing is no change of how alice signs in.
    for body in ({"default": True, "email": primary.email}, {"default": False}, {}):
        answer = client.put(f"/api/mailboxes/{primary.pk}", body, format="json")
        assert answer.json() == {"updated": True}
    assert client.put(f"/api/mailboxes/{home.pk}", {"default": True}, format="json").status_code == 403
    theirs = EmailAddress.objects.get(user=root)
    for method in ("put", "delete"):
        assert getattr(client, method)(f"/api/mailboxes/{theirs.pk}").status_code == 404


@pytest.mark.parametrize("email", ["", "no address", "a@b", "a b@home.test", 5])
def test_what_is_no_address_is_no_mailbox(alice: User, api: Api, email: Any) -> None:
    answer = api(alice).post("/api/mailboxes", {"email": email}, format="json")

    assert answer.status_code == 400
    assert EmailAddress.objects.filter(user=alice).count() == 1


def test_an_alias_is_no_mailbox_and_tries_are_limited(alice: User, api: Api, settings: Settings) -> None:
    settings.ADDRESSES_PER_HOUR = 2
    client = api(alice)
    alias = issue(owner=alice)

    codes = [
        client.post("/api/mailboxes", {"email": alias.address}, format="json").status_code for _ in range(3)
    ]

    assert codes == [400, 400, 429]


def test_a_mailbox_is_deleted_and_its_aliases_move(alice: User, root: User, api: Api) -> None:
    client = api(alice)
    primary = EmailAddress.objects.get(user=alice)
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias = issue(owner=alice, destinations=["alice@home.test"])
    theirs = EmailAddress.objects.get(user=root)

    def delete(key: int, target: Any = None) -> int:
        body = {} if target is None else {"transfer_aliases_to": target}
        return client.delete(f"/api/mailboxes/{key}", body, format="json").status_code

    assert delete(primary.pk) == 409
    assert delete(home.pk) == 409
    assert delete(home.pk, -1) == 409
    for target in (home.pk, theirs.pk, "x", True, 0, 2**70):
        assert delete(home.pk, target) == 400
    assert EmailAddress.objects.filter(pk=home.pk).exists()
    assert delete(home.pk, primary.pk) == 200
    assert [address.email for address in alias.destinations.all()] == ["alice@example.com"]
