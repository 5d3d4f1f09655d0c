"""Making an alias: how many somebody may make, and how many statements that takes."""

import re
from datetime import timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases import exceptions as refusals
from aliases.issuing import NewAlias, insert_all, issue
from aliases.models import Alias
from core.exceptions import RateLimited
from core.ratelimit import Counter, hide
from domains.models import AccessGrant, Audience, Domain
from tests.conftest import Api

# --- Limits ------------------------------------------------------------------------------------


def test_a_domains_quota_holds_for_each_user(alice: User, example_com: Domain) -> None:
    Domain.objects.filter(pk=example_com.pk).update(alias_quota=2)
    bob = User.objects.create_user("bob@example.com")
    first = issue(owner=alice)
    issue(owner=alice)

    with pytest.raises(refusals.QuotaReached):
        issue(owner=alice)
    issue(owner=bob)
    first.soft_delete()
    issue(owner=alice)

    assert Alias.objects.owned_by(alice).present().count() == 2


def test_a_quota_of_nought_allows_none(alice: User, example_com: Domain) -> None:
    Domain.objects.filter(pk=example_com.pk).update(alias_quota=0)

    with pytest.raises(refusals.QuotaReached):
        issue(owner=alice)


def test_aliases_on_other_domains_do_not_count_against_a_quota(
    alice: User, example_com: Domain, other_org: Domain
) -> None:
    Domain.objects.filter(pk=example_com.pk).update(alias_quota=1)
    other_org.grant(alice)
    issue(owner=alice, domain="other.org")

    assert issue(owner=alice).domain == example_com


def test_creations_are_limited_by_the_hour(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 2
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        issue(owner=alice)
        issue(owner=alice)
        with pytest.raises(RateLimited) as refusal:
            issue(owner=alice)
    with time_machine.travel(start + timedelta(minutes=61), tick=False):
        issue(owner=alice)

    assert refusal.value.retry_after == 3600
    assert Alias.objects.owned_by(alice).count() == 3


def test_creations_are_limited_by_the_day(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_DAY = 2
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        issue(owner=alice)
    with time_machine.travel(start + timedelta(hours=2), tick=False):
        issue(owner=alice)
        with pytest.raises(RateLimited) as refusal:
            issue(owner=alice)

    assert refusal.value.retry_after == 22 * 3600


def test_a_limit_is_each_users_own(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 1
    bob = User.objects.create_user("bob@example.com")
    issue(owner=alice)

    assert issue(owner=bob).owner == bob


def test_deleting_does_not_give_creations_back(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 1
    issue(owner=alice).soft_delete()

    with pytest.raises(RateLimited):
        issue(owner=alice)


def test_a_refused_creation_is_not_counted(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 1
    for _ in range(3):
        with pytest.raises(refusals.DestinationForbidden):
            issue(owner=alice, destinations=["nobody@example.com"])

    assert issue(owner=alice).pk


def test_one_creation_leaves_two_counters_that_name_nobody(alice: User) -> None:
    issue(owner=alice)

    rows = list(Counter.objects.order_by("scope"))
    assert [(row.scope, row.count) for row in rows] == [("create-day", 1), ("create-hour", 1)]
    assert all(re.fullmatch("[0-9a-f]{64}", row.key) for row in rows)


# --- The budget --------------------------------------------------------------------------------

TRANSACTION_CONTROL = re.compile(r"SAVEPOINT|RELEASE|BEGIN|COMMIT|ROLLBACK")
LAST_USED = re.compile(r'UPDATE "tokens_token" SET "last_used" = ')


def statements(queries: CaptureQueriesContext) -> list[str]:
    """What the budget counts: all but transaction control and the token's `last used`."""
    asked = [query["sql"] for query in queries.captured_queries]
    return [sql for sql in asked if not (TRANSACTION_CONTROL.match(sql) or LAST_USED.match(sql))]


@pytest.fixture(params=["1 domain", "500 domains", "1,000 grants", "quota"])
def crowd(request: pytest.FixtureRequest, alice: User, example_com: Domain) -> None:
    """How much there is beside alice and example.com."""
    amount = {"500 domains": 500, "1,000 grants": 1_000}.get(request.param, 0)
    Domain.objects.bulk_create(
        Domain(name=f"d{number}.test", anonmail_enabled=True, audience=Audience.EVERYONE)
        for number in range(amount)
    )
    if request.param == "1,000 grants":
        Domain.objects.exclude(pk=example_com.pk).update(audience=Audience.OWN)
        AccessGrant.objects.bulk_create(
            AccessGrant(domain=domain, user=alice) for domain in Domain.objects.exclude(pk=example_com.pk)
        )
    if request.param == "quota":
        Domain.objects.filter(pk=example_com.pk).update(alias_quota=10)
    assert Domain.objects.usable_by(alice).count() == 1 + amount


def test_issuing_takes_five_statements_whatever_there_is(
    request: pytest.FixtureRequest, alice: User, crowd: None
) -> None:
    with CaptureQueriesContext(connection) as queries:
        issue(owner=alice, hostname="www.github.com")

    # the preferences; the domain; both counters; [the quota's count]; the alias; its link to the
    # primary address, unless somebody has this address as an own one
    expected = 6 if "quota" in request.node.name else 5
    assert len(statements(queries)) == expected, statements(queries)


def test_the_whole_call_takes_four_statements_whatever_there_is(
    request: pytest.FixtureRequest, alice: User, api: Api, crowd: None
) -> None:
    client = api(alice)

    with CaptureQueriesContext(connection) as queries:
        answer = client.post("/api/alias/random/new?hostname=www.github.com", {"note": "x"}, format="json")

    assert answer.status_code == 201
    # the token with its owner, the preferences and the domain; then as above
    expected = 5 if "quota" in request.node.name else 4
    assert len(statements(queries)) == expected, statements(queries)


def test_two_destinations_take_one_statement_more(alice: User, home: EmailAddress) -> None:
    with CaptureQueriesContext(connection) as queries:
        issue(owner=alice, destinations=["alice@home.test", "alice@example.com"])

    # The destinations are looked up, then linked.
    assert len(statements(queries)) == 6, statements(queries)


# --- Several in one transaction ----------------------------------------------------------------


def new_alias(address: str, domain: Domain, owner: User) -> NewAlias:
    alias = Alias(address=address, domain=domain, owner=owner)
    return NewAlias(owner, alias, wanted=None, is_chosen=False, idle_days=None, unused_days=None)


def test_aliases_that_are_inserted_together_take_as_many_statements_for_two_as_for_five(
    example_com: Domain,
) -> None:
    def statements_for(number: int) -> int:
        people = [User.objects.create_user(f"{number}-{place}@example.com") for place in range(number)]
        every = [new_alias(f"x{user.pk}@example.com", example_com, user) for user in people]
        with CaptureQueriesContext(connection) as statements:
            insert_all(every)
        for new in every:
            kept = Alias.objects.get(pk=new.alias.pk)
            assert (kept.address, kept.owner) == (new.alias.address, new.owner)
            assert [address.email for address in kept.destination_addresses] == [new.owner.email]
        return len(statements)

    assert statements_for(2) == statements_for(5)


def test_an_address_that_was_given_out_is_skipped_and_counts_for_nothing(
    alice: User, example_com: Domain
) -> None:
    bob = User.objects.create_user("bob@example.com")
    Alias.objects.create(address="taken@example.com", domain=example_com, owner=bob)
    every = [
        new_alias("taken@example.com", example_com, alice),
        new_alias("free@example.com", example_com, bob),
    ]

    insert_all(every)

    assert [new.is_taken for new in every] == [True, False]
    assert sorted(bob.aliases.values_list("address", flat=True)) == ["free@example.com", "taken@example.com"]
    assert not Alias.objects.owned_by(alice).exists()
    for user, count in ((alice, 0), (bob, 1)):
        assert set(Counter.objects.filter(key=hide(user.pk)).values_list("count", flat=True)) == {count}
