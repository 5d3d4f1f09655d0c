"""SimpleLogin's list of aliases: its pages, its order, and what is searched for."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.models import Activity
from tests.api.calls import LIST
from tests.conftest import Api

pytestmark = pytest.mark.django_db


def test_the_list_has_twenty_a_page_pinned_and_recent_first(alice: User, api: Api) -> None:
    now = timezone.now()
    for number in range(45):
        alias = issue(owner=alice)
        Alias.objects.filter(pk=alias.pk).update(
            active_at=now - timedelta(hours=number), pinned=number in {30, 40}
        )
    client = api(alice)

    pages = [client.get(f"/api/v2/aliases?page_id={page}").json()["aliases"] for page in range(4)]

    assert [len(page) for page in pages] == [20, 20, 5, 0]
    listed = [row["id"] for page in pages for row in page]
    assert listed == list(Alias.objects.recent_first().values_list("pk", flat=True))
    assert [row["pinned"] for row in pages[0][:3]] == [True, True, False]


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_list_is_searched(alice: User, api: Api, method: str) -> None:
    code = issue(owner=alice, hostname="github.com", note="100% Code")
    shop = issue(owner=alice, hostname="shop.test", note="")
    shop.edit(name="Größe")
    gone = issue(owner=alice, hostname="github.com")
    gone.soft_delete()
    client = api(alice)

    def found(text: str) -> set[int]:
        answer = client.generic(method.upper(), LIST, f'{{"query": "{text}"}}'.encode(), "application/json")
        return {row["id"] for row in answer.json()["aliases"]}

    assert found(code.address.upper()) == found(code.address) == {code.pk}
    assert found("%") == {code.pk}
    assert found("\\\\") == found("\\u0000qqq\\u0000") == set()
    assert found("") == {code.pk, shop.pk}
    assert found("GitHub") == found("100%") == found("code") == {code.pk}
    assert found("shop.test") == {shop.pk}
    assert found("Größe") == {shop.pk}
    assert found("_") == found("nothing") == set()


@pytest.mark.parametrize("text", ["x" * 10_001, "%" * 100_000, "ü" * 100_000])
def test_a_search_that_is_longer_than_any_note_finds_nothing(alice: User, api: Api, text: str) -> None:
    issue(owner=alice)

    assert api(alice).post(LIST, {"query": text}, format="json").json() == {"aliases": []}


def test_the_longest_search_finds_the_longest_note(alice: User, api: Api) -> None:
    alias = issue(owner=alice, note="🦄%" * 5_000)

    answer = api(alice).post(LIST, {"query": alias.note}, format="json")

    assert [row["id"] for row in answer.json()["aliases"]] == [alias.pk]


def test_the_first_flag_wins_whatever_its_value(alice: User, api: Api) -> None:
    pinned, off, on = (issue(owner=alice) for _ in range(3))
    pinned.edit(pinned=True)
    off.disable()
    client = api(alice)

    def found(flags: str) -> set[int]:
        return {row["id"] for row in client.get(f"{LIST}&{flags}").json()["aliases"]}

    assert found("pinned") == found("disabled&pinned=false") == {pinned.pk}
    assert found("disabled=0") == found("enabled&disabled") == {off.pk}
    assert found("enabled=") == {pinned.pk, on.pk}


@pytest.mark.parametrize("flag", ["", "&enabled="])
def test_a_list_has_each_alias_once_whatever_mail_and_destinations_it_has(
    alice: User, api: Api, flag: str
) -> None:
    EmailAddress.objects.create(user=alice, email="a@elsewhere.test", verified=True)
    destinations = ["a@elsewhere.test", alice.email]
    made = [issue(owner=alice, destinations=destinations) for _number in range(22)]
    bare = issue(owner=alice)
    bare.destination_links.all().delete()
    now = timezone.now()
    for minutes in (3, 1, 2):
        moment = now - timedelta(minutes=minutes)
        Activity.objects.create(alias=made[0], event="forward", sender=f"{minutes}@shop.test", moment=moment)
    client = api(alice)

    pages = [client.get(f"/api/v2/aliases?page_id={page}{flag}").json()["aliases"] for page in range(3)]
    addy = [
        client.get(f"/api/v1/aliases?page[size]=20&page[number]={page}&sort={'' if flag else '-created_at'}")
        for page in (1, 2)
    ]

    assert [len(page) for page in pages] == [20, 3, 0]
    rows = [row for page in pages for row in page]
    assert [row["id"] for row in rows] == [bare.pk, *(alias.pk for alias in reversed(made))]
    assert [[box["email"] for box in row["mailboxes"]] for row in rows] == [[], *[destinations] * 22]
    assert rows[0]["mailbox"] is None
    assert rows[-1]["latest_activity"]["contact"]["email"] == "1@shop.test"
    assert [row["latest_activity"] for row in rows[:-1]] == [None] * 22
    found = [row for page in addy for row in page.json()["data"]]
    assert [row["email"] for row in found] == [row["email"] for row in rows]
    assert [[to["email"] for to in row["recipients"]] for row in found] == [[], *[destinations] * 22]


def test_the_old_list_has_the_old_object(alice: User, api: Api) -> None:
    alias = issue(owner=alice)

    rows = api(alice).get("/api/aliases?page_id=0").json()["aliases"]

    assert [row["id"] for row in rows] == [alias.pk]
    assert "mailboxes" not in rows[0]
    assert api(alice).get("/api/aliases").status_code == 400
