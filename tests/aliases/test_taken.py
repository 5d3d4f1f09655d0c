"""Whoever asks for addresses learns of few that others have, by whatever way, over all ways together."""

import threading
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases import taken
from aliases.exceptions import AddressTaken
from aliases.issuing import issue, issue_chosen
from api.simplelogin.custom_names import suffixes
from core.exceptions import RateLimited
from tests.conftest import Api
from transfer import importing
from transfer.importing import check_rows, make_pending, upload
from transfer.making import ImportRefused
from transfer.models import PendingImport, State

pytestmark = pytest.mark.django_db

SENTENCE = "You have tried too many addresses that are taken. Try again in 24 hours."


@pytest.fixture
def others(root: User, example_com: object) -> list[str]:
    """The addresses of somebody else's aliases."""
    chosen = [
        issue_chosen(owner=root, prefix=f"github.{word}", domain="example.com")
        for word in ("alpha", "beta", "gamma", "delta")
    ]
    return [alias.address for alias in chosen]


def choose(owner: User, address: str) -> str:
    """What becomes of the name that the owner chooses."""
    try:
        issue_chosen(owner=owner, prefix=address.partition("@")[0])
    except (AddressTaken, RateLimited) as error:
        return error.code
    return "made"


def told(owner: User, *addresses: str) -> list[str]:
    """The addresses that the import's check says are taken."""
    text = "alias,note\n" + "".join(f"{address},\n" for address in addresses)
    pending = upload(owner, text.encode(), "x.csv")
    check_rows(pending, seconds=None)
    return [row.address for row in pending.problems_in_order]


def test_all_ways_share_one_budget(
    alice: User, others: list[str], settings: Settings, client: Client, api: Api
) -> None:
    settings.TAKEN_PER_DAY = 4
    # Adding an address asks for a recent sign-in.
    client.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})
    app = api(alice)
    mailboxes = "/api/mailboxes"

    assert choose(alice, others[0]) == "address_taken"
    assert told(alice, "x@example.com", others[1]) == [others[1]]
    page = client.post("/addresses/", {"email": others[2]})
    assert "cannot be used here" in page.content.decode()
    assert "cannot be used here" in app.post(mailboxes, {"email": others[3]}, format="json").json()["error"]

    # Nothing is looked at any more, free or not.
    assert {choose(alice, each) for each in (others[0], "free@example.com")} == {"rate_limited"}
    for address in (others[0], "free@example.com"):
        with pytest.raises(RateLimited, match="Try again in 24 hours"):
            told(alice, address)
    for address in (others[0], "free@home.test"):
        shown = client.post("/addresses/", {"email": address}, follow=True).content.decode()
        assert SENTENCE in shown
        assert "cannot be used here" not in shown
        refused = app.post(mailboxes, {"email": address}, format="json")
        assert (refused.status_code, refused.json()["error"]) == (429, SENTENCE)
    # Names of our making tell nothing.
    assert issue(owner=alice, hostname="github.com")
    with time_machine.travel(timezone.now() + timedelta(days=1, minutes=1)):
        assert choose(alice, "free@example.com") == "made"


def test_many_files_of_guesses_name_few(alice: User, others: list[str], settings: Settings) -> None:
    settings.TAKEN_PER_DAY = 2
    guesses = [f"github.guess{number}@example.com" for number in range(300)]

    found = told(alice, *guesses[:100], others[0], *guesses[100:200])
    found += told(alice, *guesses[:100], *others[1:], *guesses[200:])
    with pytest.raises(RateLimited):
        told(alice, *others)

    assert found == others[:2]
    assert PendingImport.objects.get().state != State.READY


def test_a_check_goes_no_further_once_the_budget_is_used_up(
    alice: User, others: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    settings.TAKEN_PER_DAY = 1
    text = "alias\n" + "".join(f"{name}@example.com\n" for name in ("a", "b", "c"))
    pending = upload(alice, text.encode(), "x.csv")
    check_rows(pending, seconds=0)
    choose(alice, others[0])

    check_rows(pending, seconds=None)

    again = PendingImport.objects.get()
    assert (again.checked, again.state, again.problems) == (1, State.STOPPED, [])


def test_making_tells_no_more_than_the_check(alice: User, root: User, settings: Settings) -> None:
    settings.TAKEN_PER_DAY = 1
    text = "alias\n" + "".join(f"{name}@example.com\n" for name in ("x", "y"))
    pending = upload(alice, text.encode(), "x.csv")
    check_rows(pending, seconds=None)
    assert pending.state == State.READY
    for name in ("x", "y"):
        issue_chosen(owner=root, prefix=name, domain="example.com")

    with pytest.raises(ImportRefused):
        make_pending(pending)

    again = PendingImport.objects.get()
    assert [row.address for row in again.problems_in_order] == ["x@example.com"]
    assert again.state == State.STOPPED


def test_what_is_ones_own_is_no_news(alice: User, others: list[str], settings: Settings) -> None:
    settings.TAKEN_PER_DAY = 1
    own = ["mine@example.com", "alice@example.com"]
    for _ in range(3):
        assert choose(alice, own[0]) in {"made", "address_taken"}
        assert choose(alice, "alice@example.com") == "address_taken"
        assert told(alice, "mine@example.com", "alice@example.com") == [
            "mine@example.com",
            "alice@example.com",
        ]

    assert choose(alice, others[0]) == "address_taken"
    assert choose(alice, "mine@example.com") == "rate_limited"


def test_a_global_admin_sees_all_anyway(alice: User, root: User, settings: Settings) -> None:
    settings.TAKEN_PER_DAY = 1
    names = [f"{name}@example.com" for name in "uvw"]
    for name in names:
        choose(alice, name)

    for _ in range(3):
        with pytest.raises(AddressTaken):
            issue_chosen(owner=root, prefix="u", domain="example.com")
        assert told(root, *names) == names


@pytest.mark.parametrize("dialect", ["simplelogin", "addy"])
def test_apps_hear_it_in_their_dialect(
    alice: User, others: list[str], settings: Settings, api: Api, dialect: str
) -> None:
    settings.TAKEN_PER_DAY = 2
    app = api(alice)

    def ask(address: str) -> Any:
        name = address.partition("@")[0]
        if dialect == "addy":
            body: dict[str, Any] = {"domain": "example.com", "format": "custom", "local_part": name}
            return app.post("/api/v1/aliases", body, format="json")
        signed = suffixes(alice)[0]["signed_suffix"]
        body = {"alias_prefix": name, "signed_suffix": signed}
        return app.post("/api/v2/alias/custom/new", body, format="json")

    answers = [ask(address) for address in (*others[:2], others[2], "free@example.com")]

    said = 422 if dialect == "addy" else 409
    assert [answer.status_code for answer in answers] == [said, said, 429, 429]
    assert answers[2].json() == answers[3].json()
    assert SENTENCE in answers[2].json().values()
    assert answers[3]["Retry-After"] in {"86399", "86400"}


def test_rows_are_counted_over_all_files_of_a_day(
    alice: User, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "ROWS_PER_DAY", 5)
    told(alice, *(f"{name}@example.com" for name in "xyz"))

    with pytest.raises(RateLimited):
        told(alice, *(f"{name}@example.com" for name in "uvw"))

    # A global admin moves whole servers.
    for _ in range(2):
        told(root, *(f"{name}@example.com" for name in "uvwxyz"))


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_many_at_once_are_told_no_more(alice: User, others: list[str], settings: Settings) -> None:
    settings.TAKEN_PER_DAY = 3
    said: list[str] = []

    def ask() -> None:
        try:
            said.append(choose(alice, others[0]))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(said) == ["address_taken"] * 3 + ["rate_limited"] * 9
    assert taken.how_many_to_reveal(alice, 5) == 0
