"""SimpleLogin's calls about the account: whose it is, its figures, exports and notifications, signing out."""

import csv
import io

import pytest
from allauth.account.models import EmailAddress

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.models import PausedDestination
from tests.conftest import Api

pytestmark = pytest.mark.django_db


def test_user_info_tells_whose_key_it_is(alice: User, api: Api) -> None:
    alice.name = "Alice"
    alice.save()

    assert api(alice).get("/api/user_info").json() == {
        "name": "Alice",
        "email": "alice@example.com",
        "is_premium": True,
        "in_trial": False,
        "trial_end_timestamp": None,
        "max_alias_free_plan": 0,
        "connected_proton_address": None,
        "can_create_reverse_alias": True,
        "profile_picture_url": None,
    }


def test_the_name_is_changed(alice: User, api: Api) -> None:
    client = api(alice)

    assert client.patch("/api/user_info", {"name": "Alice\nB"}, format="json").json()["name"] == "Alice B"
    assert client.patch("/api/user_info", {"profile_picture": "x"}, format="json").status_code == 400
    assert client.patch("/api/user_info", {"profile_picture": None}, format="json").status_code == 200


def test_the_figures_are_added_up(alice: User, root: User, api: Api) -> None:
    for _ in range(2):
        alias = issue(owner=alice)
        Alias.objects.filter(pk=alias.pk).update(forwards=5, blocks=2, replies=1)
    issue(owner=root, domain="example.com")
    issue(owner=alice).soft_delete()

    assert api(alice).get("/api/stats").json() == {
        "nb_alias": 2,
        "nb_forward": 10,
        "nb_reply": 2,
        "nb_block": 4,
    }
    Alias.objects.all().strip()
    assert api(alice).get("/api/stats").json() == {
        "nb_alias": 0,
        "nb_forward": 0,
        "nb_reply": 0,
        "nb_block": 0,
    }


def test_exports(alice: User, root: User, api: Api) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias = issue(owner=alice, note='a "quoted", note', destinations=["alice@example.com", home.email])
    alias.disable()
    issue(owner=alice).soft_delete()
    issue(owner=root, domain="example.com")
    client = api(alice)

    answer = client.get("/api/export/aliases")
    rows = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))  # type: ignore[attr-defined]

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert rows == [
        ["alias", "note", "enabled", "mailboxes"],
        [alias.address, 'a "quoted", note', "False", "alice@example.com alice@home.test"],
    ]
    assert client.get("/api/export/data").json() == {
        "email": "alice@example.com",
        "name": "",
        "aliases": [{"email": alias.address, "enabled": False}],
        "apps": [],
        "custom_domains": [],
    }


def test_a_paused_destination_is_a_notification(alice: User, api: Api) -> None:
    client = api(alice)
    assert client.get("/api/notifications?page=0").json() == {"more": False, "notifications": []}
    PausedDestination.objects.create(destination=EmailAddress.objects.get(user=alice))

    (told,) = client.get("/api/notifications").json()["notifications"]

    assert told["message"] == "alice@example.com refused mail several times and is paused."
    assert client.get("/api/notifications?page=1").json()["notifications"] == []
    assert client.get("/api/notifications?page=x").status_code == 400


def test_logging_out_revokes_the_token_it_came_with(alice: User, api: Api) -> None:
    client, other = api(alice), api(alice)

    assert client.get("/api/logout").status_code == 200
    assert client.get("/api/user_info").status_code == 401
    assert other.get("/api/user_info").status_code == 200
