"""Checking: every rule for every row, in few statements."""

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from aliases.issuing import issue_chosen
from aliases.models import Alias
from domains.models import Domain
from tests.transfer.attempt import attempt, of
from transfer.checking import check
from transfer.rows import Row

pytestmark = pytest.mark.django_db


@pytest.fixture
def home(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("no address", "This is not a valid e-mail address."),
        ("postmaster@example.com", "This name is reserved."),
        ("bounce.x@example.com", "This name is reserved."),
        ("a+tag@example.com", "A name consists of lower-case letters"),
        ("a__b@example.com", "A name consists of lower-case letters"),
        ("a@elsewhere.test", "There is no domain elsewhere.test here with the Anonymous Email Service on."),
        ("a@off.test", "There is no domain off.test here with the Anonymous Email Service on."),
        ("a@other.org", "The owner has no access to the domain other.org."),
        ("mine@example.com", "This alias already exists here."),
        ("hers@example.com", "This address is taken."),
        ("stripped@example.com", "This address is taken."),
        ("mallory@example.com", "This address is taken."),
        ("alice@example.com", "This address is taken."),
        ("tagged@example.com", "This address is taken."),
        (
            "a@shared.test",
            "On the domain shared.test only an admin can import an alias without",
        ),
        ("\x00@example.com", "This is not a valid e-mail address."),
        ("", "This is not a valid e-mail address."),
    ],
)
def test_an_address_that_breaks_a_rule_is_told_and_nothing_is_made(
    alice: User, root: User, mallory: User, other_org: Domain, address: str, reason: str
) -> None:
    Domain.objects.create(name="off.test", audience="everyone")
    Domain.objects.create(name="shared.test", audience="everyone", anonmail_enabled=True, is_shared=True)
    issue_chosen(owner=alice, prefix="mine").soft_delete()
    issue_chosen(owner=root, prefix="hers", domain="example.com")
    issue_chosen(owner=root, prefix="stripped", domain="example.com").soft_delete()
    Alias.objects.filter(address="stripped@example.com").strip()
    for email in ("mallory@example.com", "tagged+list@example.com"):
        EmailAddress.objects.create(user=mallory, email=email, verified=True)
    # Anybody can add one.
    EmailAddress.objects.create(user=mallory, email="good.one@example.com")

    found = of(alice, "good.one@example.com", address, "good.two@example.com").problems()

    assert [line for line, _reason in found] == [3]
    assert found[0][1].startswith(reason)


def test_every_row_that_is_wrong_is_told_in_the_order_of_the_file(alice: User, home: EmailAddress) -> None:
    EmailAddress.objects.create(user=alice, email="new@home.test", verified=False)
    rows = [
        Row(2, "a@example.com"),
        Row(3, "A@EXAMPLE.com "),
        Row(4, "b@example.com", destinations=("alice@home.test", "new@home.test")),
        Row(5, "c@example.com", destinations=("mallory@evil.test",)),
        Row(6, "d@example.com", note="x" * 10_001),
        Row(7, "e@example.com", name="x" * 129),
        Row(8, "f@example.com", note="NUL \x00"),
        Row(9, "g@example.com", destinations=("none",)),
        Row(10, "h@example.com", problem="Unreadable."),
        Row(11, "i@example.com", destinations=("alice@home.test",)),
    ]

    assert attempt(alice, rows).problems() == [
        (3, "It is already in the file (see 2)."),
        (4, "new@home.test is not a verified address of the alias's owner."),
        (5, "mallory@evil.test is not a verified address of the alias's owner."),
        (6, "A note has at most 10,000 characters."),
        (7, "A name has at most 128 characters."),
        (8, "The text contains invalid characters."),
        (9, "A destination is not a valid e-mail address."),
        (10, "Unreadable."),
    ]


def test_an_owner_without_a_verified_primary_address_needs_destinations(alice: User) -> None:
    EmailAddress.objects.filter(user=alice).update(verified=False)

    assert of(alice, "a@example.com").problems() == [(2, "The owner has no verified primary address.")]


def test_where_nobody_chooses_names_an_import_tells_of_nobody(alice: User, example_com: Domain) -> None:
    Domain.objects.filter(pk=example_com.pk).update(is_shared=True)
    rows = [Row(2, alice.email), Row(3, "free@example.com")]

    problems = attempt(alice, rows).check()

    assert [problem.is_taken for problem in problems] == [False, False]
    assert len({problem.reason for problem in problems}) == 1


def test_a_deactivated_user_imports_nothing(alice: User) -> None:
    alice.deactivate()

    found = of(alice, "a@example.com").problems()

    assert found == [(2, "The owner has no access to the domain example.com.")]


def test_many_owners_take_one_statement_more_each(example_com: Domain) -> None:
    """The one whether the owner may create there."""
    owners = [User.objects.create_user(f"p{number}@example.com") for number in range(12)]
    by_email = {owner.email: owner for owner in owners}
    counts = {}
    for number in (2, 12):
        rows = [Row(2, f"n{number}-{owner.pk}@example.com", owner=owner.email) for owner in owners[:number]]
        with CaptureQueriesContext(connection) as asked:
            assert check(rows, lambda row: by_email[row.owner]) == []
        counts[number] = len(asked)

    assert counts[12] - counts[2] == 10
