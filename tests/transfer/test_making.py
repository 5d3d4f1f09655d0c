"""Making: all or nothing, in few statements."""

import threading
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias
from domains.models import Domain
from tests.transfer.attempt import attempt, of
from tests.transfer.samples import ADDY_CSV, SIMPLELOGIN_CSV
from transfer import checking, making
from transfer.checking import Check
from transfer.formats import ADDY, SIMPLELOGIN, read
from transfer.making import ImportRefused
from transfer.rows import Row

pytestmark = pytest.mark.django_db


@pytest.fixture
def home(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)


def test_simplelogins_aliases_are_made_as_they_were(alice: User, home: EmailAddress) -> None:
    made = attempt(alice, read(SIMPLELOGIN_CSV, SIMPLELOGIN).rows).make()

    assert made == 3
    shop, off, bare = Alias.objects.owned_by(alice).with_destinations().order_by("pk")
    assert (shop.address, shop.enabled, shop.domain.name) == ("shop.one@example.com", True, "example.com")
    assert shop.note == 'Shoes, order "4711"\nsecond line'
    assert [row.email for row in shop.destination_addresses] == ["alice@example.com", "alice@home.test"]
    assert [row.email for row in bare.destination_addresses] == ["alice@example.com"]
    assert set(Alias.objects.receiving()) == {shop, bare}
    assert not off.enabled


def test_addys_aliases_are_made_the_deleted_ones_as_deleted(alice: User) -> None:
    attempt(alice, read(ADDY_CSV, ADDY).rows).make()

    shop, off, gone = Alias.objects.order_by("pk")
    assert (shop.name, shop.note, off.enabled) == ("Alice A", "Shoes", False)
    assert set(Alias.objects.present()) == {shop, off}
    gone.restore()
    assert set(Alias.objects.present()) == {shop, off, gone}


def test_what_is_written_is_stored_as_elsewhere(alice: User) -> None:
    rows = of(alice, "A.b@Example.COM", note="Website: https://x.test/r?key=1", hostname="https://x.test/a")

    rows.make()

    alias = Alias.objects.get()
    assert (alias.address, alias.note, alias.hostname) == ("a.b@example.com", "Website: x.test", "x.test")


def test_the_quota_counts_rows_and_aliases_but_no_deleted_ones(alice: User, example_com: Domain) -> None:
    example_com.alias_quota = 3
    example_com.save()
    issue(owner=alice)
    issue(owner=alice).soft_delete()

    over = of(alice, "a@example.com", "b@example.com", "c@example.com").problems()
    fitting = [Row(2, "gone@example.com", deleted=True), Row(3, "a@example.com"), Row(4, "b@example.com")]
    attempt(alice, fitting).make()

    assert over == [(4, "The domain allows each person 3 aliases.")]
    assert Alias.objects.present().count() == 3


def test_an_admin_may_bring_whole_names_to_a_shared_domain(alice: User, example_com: Domain) -> None:
    example_com.is_shared = True
    example_com.save()

    assert of(alice, "a@example.com").make(by_admin=True) == 1


def test_the_limits_of_creation_do_not_count_an_import(alice: User) -> None:
    many = of(alice, *(f"a{number}@example.com" for number in range(settings.ALIASES_PER_HOUR + 1)))

    assert many.make() == settings.ALIASES_PER_HOUR + 1
    assert issue(owner=alice)


def test_many_rows_take_few_statements(alice: User) -> None:
    counts = {}
    for number in (10, 2000):
        rows = of(alice, *(f"n{number}-{key}@example.com" for key in range(number)))
        with CaptureQueriesContext(connection) as asked:
            assert rows.check() == []
        with CaptureQueriesContext(connection) as written:
            rows.make()
        inserts = sum(query["sql"].startswith("INSERT") for query in written)
        counts[number] = (len(asked), sum(query["sql"].startswith("SELECT") for query in written))

    assert counts[10] == counts[2000]
    # Domains, usable ones, own addresses, aliases, own addresses in the way, tagged ones, addresses held.
    assert counts[10][0] == 7
    # SQLite takes few parameters in a statement, so there the rows go in some dozens at a time.
    assert inserts <= 2000 / 25


def test_chunks_make_no_difference(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "BATCH", 3)
    monkeypatch.setattr(making, "BATCH", 3)
    issue_chosen(owner=alice, prefix="a5")
    addresses = [f"a{number}@example.com" for number in range(11)]

    assert of(alice, *addresses).problems() == [(7, "This alias already exists here.")]
    addresses.remove("a5@example.com")
    assert of(alice, *addresses).make() == 10
    assert not Alias.objects.filter(destination_links=None).exists()


def test_an_own_address_that_comes_in_between_stops_the_import(
    alice: User, mallory: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = Check.problems

    def then_add(self: Any) -> Any:
        found = problems(self)
        EmailAddress.objects.create(user=mallory, email="a+x@example.com", verified=True)
        return found

    monkeypatch.setattr(Check, "problems", then_add)

    with pytest.raises(ImportRefused) as refusal:
        of(alice, "a@example.com").make()

    assert refusal.value.problems[0].is_taken
    assert not Alias.objects.exists()


def test_an_alias_that_comes_in_between_stops_the_import(
    alice: User, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Check, "problems", lambda self: self.ask() or [])
    issue_chosen(owner=root, prefix="b", domain="example.com")

    with pytest.raises(ImportRefused) as refusal:
        of(alice, "a@example.com", "b@example.com").make()

    assert refusal.value.problems[0].reason == "Something changed at the same moment. Try again."
    assert Alias.objects.count() == 1


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_two_imports_at_once_keep_the_quota() -> None:
    domain = Domain.objects.create(name="example.com", anonmail_enabled=True, alias_quota=3)
    alice = User.objects.create_user("alice@example.com")
    barrier, made = threading.Barrier(2), []

    def run(prefix: str) -> None:
        rows = of(alice, f"{prefix}1@example.com", f"{prefix}2@example.com")
        barrier.wait()
        try:
            made.append(rows.make())
        except ImportRefused:
            made.append(0)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[prefix]) for prefix in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(made) == [0, 2]
    assert domain.aliases.count() == 2
