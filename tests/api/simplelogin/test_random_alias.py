"""The main job: `POST /api/alias/random/new`."""

import re

from accounts.models import User
from aliases.models import Alias
from tests.api.calls import CREATE
from tests.conftest import Api


def test_a_password_manager_gets_a_fresh_address_named_after_the_site(alice: User, api: Api) -> None:
    answer = api(alice).post(f"{CREATE}?hostname=www.github.com", {"note": "mine"}, format="json")

    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    body = answer.json()
    assert re.fullmatch(r"github\.[a-z]+@example\.com", body["alias"])
    alias = Alias.objects.get(address=body["alias"])
    assert alias.owner == alice
    assert body == {
        "alias": alias.address,
        "email": alias.address,
        "id": alias.pk,
        "name": None,
        "enabled": True,
        "pinned": False,
        "note": "mine",
        "creation_date": alias.created.strftime("%Y-%m-%d %H:%M:%S+00:00"),
        "creation_timestamp": int(alias.created.timestamp()),
        "nb_forward": 0,
        "nb_block": 0,
        "nb_reply": 0,
        "mailbox": {"id": body["mailbox"]["id"], "email": "alice@example.com"},
        "mailboxes": [{"id": body["mailbox"]["id"], "email": "alice@example.com"}],
        "support_pgp": False,
        "disable_pgp": False,
        "latest_activity": None,
    }
