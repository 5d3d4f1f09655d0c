"""Changing one alias of addy.io's, or many at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.models import Activity
from tests.api.addy.calls import ALIASES, NOBODY, make, recipient_id
from tests.conftest import Api

pytestmark = pytest.mark.django_db


def test_a_change_leaves_alone_what_it_does_not_name(alice: User, api: Api) -> None:
    alias = issue(owner=alice, note="old", name="Alice")
    client, path = api(alice), f"{ALIASES}/{alias.uuid}"

    def changed(**body: Any) -> tuple[Any, Any]:
        row = client.patch(path, body, format="json").json()["data"]
        assert client.get(path).json()["data"] == row
        return row["description"], row["from_name"]

    assert changed(description="new") == ("new", "Alice")
    assert changed(from_name="A\r\nB") == ("new", "A B")
    assert changed() == ("new", "A B")
    assert changed(description=None, active=False) == (None, "A B")
    assert changed(from_name="") == (None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("description", 5),
        ("description", "\x00"),
        ("description", "x" * 10_001),
        ("from_name", []),
        ("from_name", "x" * 129),
    ],
)
def test_a_change_that_breaks_a_rule_changes_nothing(alice: User, api: Api, field: str, value: Any) -> None:
    alias = issue(owner=alice, note="old", name="Alice")
    body = {"description": "new", "from_name": "new", field: value}

    answer = api(alice).patch(f"{ALIASES}/{alias.uuid}", body, format="json")

    alias.refresh_from_db()
    assert (answer.status_code, list(answer.json()["errors"])) == (422, [field])
    assert (alias.note, alias.name) == ("old", "Alice")


def test_a_deletion_can_be_taken_back_the_switch_as_it_was(alice: User, api: Api) -> None:
    alias, off = issue(owner=alice), issue(owner=alice)
    off.disable()
    client, path = api(alice), f"{ALIASES}/{alias.uuid}"

    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404
    gone = client.get(path).json()["data"]
    assert (gone["active"], gone["deleted_at"] is None) == (False, False)
    back = client.patch(f"{path}/restore").json()["data"]
    assert (back["active"], back["deleted_at"]) == (True, None)
    assert client.patch(f"{path}/restore").json() == {"data": back}

    client.delete(f"{ALIASES}/{off.uuid}")
    assert client.patch(f"{ALIASES}/{off.uuid}/restore").json()["data"]["active"] is False


def test_what_was_deleted_long_ago_is_not_restored(alice: User, api: Api) -> None:
    alias = issue(owner=alice)
    Alias.objects.filter(pk=alias.pk).update(deleted_at=timezone.now() - timedelta(days=31))

    answer = api(alice).patch(f"{ALIASES}/{alias.uuid}/restore")

    assert (answer.status_code, list(answer.json())) == (409, ["message"])


@pytest.mark.parametrize("deleted", [False, True])
def test_what_is_forgotten_leaves_an_address_that_is_never_given_out_again(
    alice: User, api: Api, deleted: bool
) -> None:
    client = api(alice)
    made = make(client, format="custom", local_part="shop", description="secret").json()["data"]
    alias = Alias.objects.get()
    Activity.objects.create(alias=alias, event="forward", sender="a@shop.test")
    if deleted:
        alias.soft_delete()

    assert client.delete(f"{ALIASES}/{made['id']}/forget").status_code == 204

    alias.refresh_from_db()
    assert (alias.owner, alias.note, alias.enabled) == (None, "", False)
    assert not Activity.objects.exists()
    assert client.get(f"{ALIASES}/{made['id']}").status_code == 404
    assert client.patch(f"{ALIASES}/{made['id']}/restore").status_code == 404
    assert client.get(f"{ALIASES}?filter[deleted]=with").json()["data"] == []
    assert make(client, format="custom", local_part="shop").status_code == 422


def test_an_alias_is_switched_and_pinned(alice: User, api: Api) -> None:
    alias = issue(owner=alice)
    client, key = api(alice), {"id": str(alias.uuid)}

    assert client.delete(f"/api/v1/active-aliases/{alias.uuid}").status_code == 204
    assert client.get(f"{ALIASES}/{alias.uuid}").json()["data"]["active"] is False
    assert client.post("/api/v1/active-aliases", key, format="json").json()["data"]["active"] is True
    assert client.post("/api/v1/pinned-aliases", key, format="json").json()["data"]["pinned"] is True
    assert client.delete(f"/api/v1/pinned-aliases/{alias.uuid}").status_code == 204
    alias.refresh_from_db()
    assert (alias.enabled, alias.pinned) == (True, False)
    alias.soft_delete()
    refused = client.post("/api/v1/active-aliases", key, format="json")
    assert (refused.status_code, list(refused.json()["errors"])) == (422, ["id"])


@pytest.mark.parametrize("value", [None, 5, "", [], {}])
@pytest.mark.parametrize(
    ("path", "field"), [("active-aliases", "id"), ("pinned-aliases", "id"), ("alias-recipients", "alias_id")]
)
def test_an_alias_is_named_by_a_text(alice: User, api: Api, path: str, field: str, value: Any) -> None:
    answer = api(alice).post(f"/api/v1/{path}", {field: value}, format="json")

    assert (answer.status_code, list(answer.json()["errors"])) == (422, [field])


def test_recipients_are_changed_and_none_means_the_primary_one(
    alice: User, api: Api, home: EmailAddress
) -> None:
    alias, client = issue(owner=alice), api(alice)

    def forwards_to(ids: list[str]) -> list[str]:
        body = {"alias_id": str(alias.uuid), "recipient_ids": ids}
        row = client.post("/api/v1/alias-recipients", body, format="json").json()["data"]
        assert client.get(f"{ALIASES}/{alias.uuid}").json()["data"] == row
        return [recipient["email"] for recipient in row["recipients"]]

    assert forwards_to([recipient_id(home), recipient_id(home)]) == ["alice@home.test"]
    assert forwards_to([]) == ["alice@example.com"]


def test_the_last_mail_is_told_as_far_as_it_is_known(alice: User, api: Api) -> None:
    alias, old = issue(owner=alice), issue(owner=alice)
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    for hours, event in enumerate(["forward", "forward", "block", "bounce"]):
        Activity.objects.create(alias=alias, event=event, moment=noon + timedelta(hours=hours))
    Alias.objects.filter(pk=alias.pk).update(forwards=2, blocks=1, active_at=noon + timedelta(hours=3))
    # Its activity is not kept any more.
    Alias.objects.filter(pk=old.pk).update(forwards=5, active_at=noon)

    rows = {row["id"]: row for row in api(alice).get(ALIASES).json()["data"]}

    told = rows[str(alias.uuid)]
    assert (told["last_forwarded"], told["last_blocked"]) == ("2026-05-01 13:00:00", "2026-05-01 14:00:00")
    assert (told["emails_forwarded"], told["emails_blocked"]) == (2, 1)
    told = rows[str(old.uuid)]
    assert (told["last_forwarded"], told["last_blocked"]) == ("2026-05-01 12:00:00", None)


# Many at once


def test_many_aliases_are_changed_at_once(alice: User, root: User, api: Api, home: EmailAddress) -> None:
    mine = [issue(owner=alice) for _ in range(3)]
    theirs = issue(owner=root, domain="example.com")
    client = api(alice)
    ids = [str(alias.uuid) for alias in mine]

    def bulk(action: str, **extra: Any) -> Any:
        body = {"ids": [*ids, str(theirs.uuid), NOBODY], **extra}
        return client.post(f"{ALIASES}/{action}/bulk", body, format="json")

    def states() -> set[tuple[bool, bool, bool]]:
        return {(alias.enabled, alias.pinned, alias.is_deleted) for alias in Alias.objects.owned_by(alice)}

    assert [row["id"] for row in bulk("get").json()["data"]] == ids
    assert "recipients" not in bulk("get").json()["data"][0]
    assert bulk("deactivate").json() == {"message": "3 aliases changed.", "ids": ids}
    assert states() == {(False, False, False)}
    assert bulk("deactivate").json() == {"message": "No aliases found"}
    assert bulk("pin").json()["ids"] == ids
    assert states() == {(False, True, False)}
    assert bulk("activate").json()["ids"] == bulk("unpin").json()["ids"] == ids
    assert states() == {(True, False, False)}
    assert bulk("recipients", recipient_ids=[recipient_id(home)]).json()["ids"] == ids
    assert {row.email for alias in mine for row in alias.destinations.all()} == {"alice@home.test"}
    assert bulk("deactivate").json()["ids"] == bulk("delete").json()["ids"] == ids
    assert states() == {(False, False, True)}
    assert (bulk("activate").status_code, bulk("delete").status_code) == (422, 404)
    assert bulk("restore").json()["ids"] == ids
    assert states() == {(False, False, False)}
    assert bulk("forget").json()["ids"] == ids
    assert not Alias.objects.owned_by(alice).exists()
    theirs.refresh_from_db()
    assert (theirs.owner, theirs.enabled, theirs.pinned, theirs.is_deleted) == (root, True, False, False)


def test_a_deleted_alias_is_told_to_be_inactive_and_not_activated(alice: User, api: Api) -> None:
    alias, off = issue(owner=alice), issue(owner=alice)
    alias.soft_delete()
    client = api(alice)

    one = client.post(f"{ALIASES}/activate/bulk", {"ids": [str(alias.uuid)]}, format="json")
    off.disable()
    both = client.post(f"{ALIASES}/activate/bulk", {"ids": [str(alias.uuid), str(off.uuid)]}, format="json")

    assert client.get(f"{ALIASES}/{alias.uuid}").json()["data"]["active"] is False
    assert (one.status_code, list(one.json()["errors"])) == (422, ["ids"])
    assert both.json()["ids"] == [str(off.uuid)]


def test_many_are_forgotten_in_as_many_statements_as_one(
    alice: User, api: Api, django_assert_num_queries: Any
) -> None:
    client = api(alice)
    client.get("/api/user_info")  # writes the token's last use
    for number in (1, 20):
        ids = [str(issue(owner=alice).uuid) for _ in range(number)]
        # The token, the aliases, two of transactions each; their keys, what others keep, senders, the rest.
        with django_assert_num_queries(16):
            client.post(f"{ALIASES}/forget/bulk", {"ids": ids}, format="json")
    assert not Alias.objects.owned_by(alice).exists()


@pytest.mark.parametrize("ids", [None, [], "x", {}, ["x"], [5], [NOBODY, None], [NOBODY] * 26, [[NOBODY]]])
@pytest.mark.parametrize("action", ["get", "delete", "recipients"])
def test_many_are_named_by_an_array_of_ids(alice: User, api: Api, action: str, ids: Any) -> None:
    answer = api(alice).post(f"{ALIASES}/{action}/bulk", {"ids": ids}, format="json")

    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["ids"])


def test_a_refused_change_of_many_changes_none(alice: User, api: Api) -> None:
    late, late_too = (issue(owner=alice) for _ in range(2))
    late.soft_delete()
    Alias.objects.filter(pk=late_too.pk).update(deleted_at=timezone.now() - timedelta(days=31))
    body = {"ids": [str(late.uuid), str(late_too.uuid)]}

    answer = api(alice).post(f"{ALIASES}/restore/bulk", body, format="json")

    assert answer.status_code == 409
    assert not Alias.objects.present().exists()


# The account
