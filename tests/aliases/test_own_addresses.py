"""Taking an own address away: no alias is left without a destination."""

from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection

from accounts.models import User
from aliases.models import Alias
from aliases.own_addresses import AddressNeeded, remove_address

pytestmark = pytest.mark.django_db


@pytest.fixture
def home(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)


def destinations(alias: Alias) -> list[str]:
    return [address.email for address in Alias.objects.get(pk=alias.pk).destination_addresses]


def test_aliases_move_where_they_have_no_other_destination(alice: User, home: EmailAddress) -> None:
    alone = Alias.objects.issue(owner=alice, destinations=[home.email])
    deleted = Alias.objects.issue(owner=alice, destinations=[home.email])
    deleted.soft_delete()
    both = Alias.objects.issue(owner=alice, destinations=[home.email, alice.email])
    other = Alias.objects.issue(owner=alice)

    moved = remove_address(home, move_to=EmailAddress.objects.get(email=alice.email))

    assert moved == 2
    assert {tuple(destinations(alias)) for alias in (alone, deleted, both, other)} == {(alice.email,)}


@pytest.mark.parametrize("target", [None, "itself", "unverified", "stranger"])
def test_nothing_happens_without_a_place_for_the_aliases(
    alice: User, mallory: User, home: EmailAddress, target: str | None
) -> None:
    alias = Alias.objects.issue(owner=alice, destinations=[home.email])
    new = EmailAddress.objects.create(user=alice, email="new@home.test")
    targets = {"itself": home, "unverified": new, "stranger": EmailAddress.objects.get(user=mallory)}

    with pytest.raises(AddressNeeded):
        remove_address(home, move_to=targets.get(target or ""))

    assert destinations(alias) == [home.email]


@pytest.mark.parametrize("before", [0, 1])
def test_an_alias_made_in_the_same_moment_keeps_the_address(
    alice: User, home: EmailAddress, before: int
) -> None:
    for _ in range(before):
        Alias.objects.issue(owner=alice, destinations=[home.email])
    made: list[Alias] = []

    def come_between(execute: Callable[..., Any], sql: str, *others: Any) -> Any:
        if sql.startswith('DELETE FROM "aliases_aliasdestination"') and not made:
            made.append(Alias.objects.issue(owner=alice, destinations=[home.email]))
        return execute(sql, *others)

    primary = EmailAddress.objects.get(email=alice.email)
    with connection.execute_wrapper(come_between), pytest.raises(AddressNeeded, match="just now"):
        remove_address(home, move_to=primary)

    assert EmailAddress.objects.filter(pk=home.pk).exists()
    assert not Alias.objects.filter(destination_links=None).exists()
