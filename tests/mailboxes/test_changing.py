"""Choosing the primary address, and removing one: no alias is left without a destination."""

from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.encryption.keys import AddressGone
from mailboxes.adding import confirm_address
from mailboxes.changing import make_primary as make_primary_verb
from mailboxes.changing import remove_address
from mailboxes.exceptions import AddressNeeded, RightsEnded
from tests.rig.takeover import sign_in

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


def test_a_session_that_ended_while_it_waited_for_the_lock_changes_nothing(alice: User) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    asking = User.objects.get(pk=alice.pk)
    alice.end_sessions_and_tokens()

    for deed in (make_primary_verb, remove_address, confirm_address):
        with pytest.raises(RightsEnded):
            deed(asking, home)

    assert User.objects.get(pk=alice.pk).email == "alice@example.com"


def test_an_address_that_somebody_else_signs_in_with_cannot_become_primary(
    alice: User, mallory: User
) -> None:
    # Signed up with it, and never verified it.
    User.objects.filter(pk=mallory.pk).update(email="alice@home.test")
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    browser = sign_in()

    page = browser.post(f"/addresses/{EmailAddress.objects.get(email='alice@home.test').pk}/primary/")

    assert page.status_code == 302
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"


@pytest.mark.parametrize("change", [remove_address, make_primary_verb])
def test_of_two_who_change_an_address_at_once_the_later_is_told_that_it_is_gone(
    alice: User, home: EmailAddress, change: Callable[[User, EmailAddress], object]
) -> None:
    EmailAddress.objects.filter(pk=home.pk).delete()

    with pytest.raises(AddressGone):
        change(alice, home)
