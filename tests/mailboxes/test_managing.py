"""Taking an own address away: no alias is left without a destination."""

from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mailboxes.changing import remove_address
from mailboxes.exceptions import AddressNeeded

pytestmark = pytest.mark.django_db


@pytest.fixture
def home(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)


def destinations(alias: Alias) -> list[str]:
    return [address.email for address in Alias.objects.get(pk=alias.pk).destination_addresses]


def test_aliases_move_where_they_have_no_other_destination(alice: User, home: EmailAddress) -> None:
    alone = issue(owner=alice, destinations=[home.email])
    deleted = issue(owner=alice, destinations=[home.email])
    deleted.soft_delete()
    both = issue(owner=alice, destinations=[home.email, alice.email])
    other = issue(owner=alice)

    moved = remove_address(alice, home, move_to=EmailAddress.objects.get(email=alice.email))

    assert moved == 2
    assert {tuple(destinations(alias)) for alias in (alone, deleted, both, other)} == {(alice.email,)}


@pytest.mark.parametrize("target", [None, "itself", "unverified", "stranger"])
def test_nothing_happens_without_a_place_for_the_aliases(
    alice: User, mallory: User, home: EmailAddress, target: str | None
) -> None:
    alias = issue(owner=alice, destinations=[home.email])
    new = EmailAddress.objects.create(user=alice, email="new@home.test")
    targets = {"itself": home, "unverified": new, "stranger": EmailAddress.objects.get(user=mallory)}

    with pytest.raises(AddressNeeded):
        remove_address(alice, home, move_to=targets.get(target or ""))

    assert destinations(alias) == [home.email]


@pytest.mark.parametrize("before", [0, 1])
def test_an_alias_made_in_the_same_moment_keeps_the_address(
    alice: User, home: EmailAddress, before: int
) -> None:
    for _ in range(before):
        issue(owner=alice, destinations=[home.email])
    made: list[Alias] = []

    def come_between(execute: Callable[..., Any], sql: str, *others: Any) -> Any:
        if sql.startswith('DELETE FROM "aliases_aliasdestination"') and not made:
            made.append(issue(owner=alice, destinations=[home.email]))
        return execute(sql, *others)

    primary = EmailAddress.objects.get(email=alice.email)
    with connection.execute_wrapper(come_between), pytest.raises(AddressNeeded, match="just now"):
        remove_address(alice, home, move_to=primary)

    assert EmailAddress.objects.filter(pk=home.pk).exists()
    assert not Alias.objects.filter(destination_links=None).exists()


@pytest.fixture
def _no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise ConnectionRefusedError("mail.home.test")

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", refuse)


@pytest.mark.usefixtures("_no_mail")
def test_an_address_is_not_added_while_its_mail_cannot_be_sent(
    alice: User, client: Client, api: Callable[[User], APIClient]
) -> None:
    client.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})

    page = client.post("/addresses/", {"email": "new@home.test"}, follow=True)
    answer = api(alice).post("/api/mailboxes", {"email": "new@home.test"}, format="json")

    sentence = "The mail that verifies the address could not be sent. Try again later."
    assert sentence in page.content.decode()
    assert (answer.status_code, answer.json()) == (503, {"error": sentence})
    assert answer["Retry-After"] == "300"
    assert not EmailAddress.objects.filter(email="new@home.test").exists()


@pytest.mark.usefixtures("_no_mail")
def test_an_address_stays_while_its_mail_cannot_be_sent_again(alice: User, client: Client) -> None:
    new = EmailAddress.objects.create(user=alice, email="new@home.test")
    client.force_login(alice)

    page = client.post(f"/addresses/{new.pk}/verify/", follow=True)

    assert "could not be sent" in page.content.decode()
    assert EmailAddress.objects.filter(pk=new.pk).exists()
