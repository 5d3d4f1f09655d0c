"""SimpleLogin's calls for one alias: read, changed, switched, deleted, and what its mail did."""

from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone

from accounts.models import User
from aliases.issuing import issue
from mail.models import Activity
from tests.api.calls import LIST
from tests.conftest import Api

pytestmark = pytest.mark.django_db


def test_one_alias_is_read_and_changed(alice: User, api: Api) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    primary = EmailAddress.objects.get(user=alice, primary=True)
    alias = issue(owner=alice, note="old")
    client, path = api(alice), f"/api/aliases/{alias.pk}"

    assert client.get(path).json()["note"] == "old"
    change = {
        "note": "new",
        "name": "A\r\nB",
        "pinned": True,
        "mailbox_ids": [home.pk, primary.pk],
        "disable_pgp": True,
    }
    assert client.put(path, change, format="json").json() == {"ok": True}

    row = client.get(path).json()
    assert (row["note"], row["name"], row["pinned"]) == ("new", "A B", True)
    assert [box["id"] for box in row["mailboxes"]] == [home.pk, primary.pk]
    assert client.patch(path, {"mailbox_id": primary.pk}, format="json").json() == {"ok": True}
    assert client.patch(path, {"note": None, "enabled": False}, format="json").json() == {"ok": True}
    row = client.get(path).json()
    assert row["mailbox"] == {"id": primary.pk, "email": "alice@example.com"}
    # `enabled` is not changed here: that is what toggle is for.
    assert (row["note"], row["name"], row["enabled"]) == (None, "A B", True)


def test_a_mailbox_named_twice_is_one(alice: User, api: Api) -> None:
    primary = EmailAddress.objects.get(user=alice)
    alias = issue(owner=alice)
    client, path = api(alice), f"/api/aliases/{alias.pk}"

    assert client.put(path, {"mailbox_ids": [primary.pk] * 3}, format="json").json() == {"ok": True}

    assert client.get(path).json()["mailboxes"] == [{"id": primary.pk, "email": "alice@example.com"}]


@pytest.mark.parametrize("key", ["{home}", "0{home}"])
def test_a_mailbox_may_be_named_by_the_text_of_its_id(alice: User, api: Api, key: str) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias = issue(owner=alice)
    body = {"mailbox_ids": [key.format(home=home.pk)]}

    assert api(alice).put(f"/api/aliases/{alias.pk}", body, format="json").status_code == 200
    assert [row.email for row in alias.destinations.all()] == ["alice@home.test"]


@pytest.mark.parametrize("key", ["", "x", "-1", "0", "²", "9" * 19, "9" * 5000, 1.0, None, [1]])
def test_what_is_no_id_is_no_mailbox(alice: User, api: Api, key: Any) -> None:
    alias = issue(owner=alice)

    answer = api(alice).put(f"/api/aliases/{alias.pk}", {"mailbox_ids": [key]}, format="json")

    assert (answer.status_code, set(answer.json())) == (400, {"error"})


def test_a_refused_change_changes_nothing(alice: User, api: Api) -> None:
    alias = issue(owner=alice, note="old")
    client = api(alice)

    answer = client.put(f"/api/aliases/{alias.pk}", {"note": "new", "mailbox_ids": [999]}, format="json")

    alias.refresh_from_db()
    assert answer.status_code == 400
    assert alias.note == "old"


def test_an_alias_is_switched_and_deleted(alice: User, api: Api) -> None:
    alias = issue(owner=alice)
    client, path = api(alice), f"/api/aliases/{alias.pk}"

    assert client.post(f"{path}/toggle").json() == {"enabled": False}
    assert client.post(f"{path}/toggle").json() == {"enabled": True}
    assert client.delete(path).json() == {"deleted": True}
    assert client.delete(path).status_code == 404

    alias.refresh_from_db()
    assert alias.is_deleted
    assert alias.owner == alice


def test_activities_tell_what_happened_the_latest_first(alice: User, api: Api) -> None:
    alias, other = issue(owner=alice), issue(owner=alice)
    now = timezone.now()
    for number in range(25):
        Activity.objects.create(
            alias=alias, event="forward", sender=f"{number}@shop.test", moment=now - timedelta(minutes=number)
        )
    Activity.objects.create(alias=alias, event="bounce", moment=now - timedelta(hours=1))
    Activity.objects.create(alias=other, event="block", sender="eve@evil.test", moment=now)
    client = api(alice)

    pages = [
        client.get(f"/api/aliases/{alias.pk}/activities?page_id={page}").json()["activities"]
        for page in range(3)
    ]
    listed = {row["id"]: row["latest_activity"] for row in client.get(LIST).json()["aliases"]}

    assert [len(page) for page in pages] == [20, 6, 0]
    assert pages[0][0] == {
        "timestamp": int(now.timestamp()),
        "action": "forward",
        "from": "0@shop.test",
        "to": alias.address,
        "reverse_alias": "",
        "reverse_alias_address": "",
    }
    assert (pages[1][-1]["action"], pages[1][-1]["from"]) == ("bounced", "")
    contact = {"email": "eve@evil.test", "name": None, "reverse_alias": ""}
    assert listed[other.pk] == {"timestamp": int(now.timestamp()), "action": "block", "contact": contact}
    assert listed[alias.pk]["contact"]["email"] == "0@shop.test"
    assert client.get(f"/api/aliases/{other.pk}").json()["latest_activity"] == listed[other.pk]
    assert client.get(f"/api/aliases/{alias.pk}/activities").status_code == 400
