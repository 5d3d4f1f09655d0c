"""Importing: every rule for every row, all or nothing, in few statements."""

import csv
import io
import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from aliases.ending import set_expiry
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias, AliasExpiry
from domains.models import Domain
from tests.transfer.test_formats import ADDY_CSV, SIMPLELOGIN_CSV
from transfer import making as importing
from transfer.formats.reading import ADDY, ANONMAIL, SIMPLELOGIN, read
from transfer.formats.simplelogin import simplelogin_csv
from transfer.making import ImportRefused, Prepared, check_rows, make_aliases, prepare
from transfer.personal_download import alias_row, aliases_csv
from transfer.rows import Row

pytestmark = pytest.mark.django_db


def prepared(owner: User, rows: Iterable[Row]) -> Prepared:
    return prepare(rows, lambda row: owner)


def of(owner: User, *addresses: str, **values: Any) -> Prepared:
    """Rows with these addresses, on lines 2 and following."""
    return prepared(owner, [Row(line, address, **values) for line, address in enumerate(addresses, 2)])


def problems(found: Prepared) -> list[tuple[int, str]]:
    """What is wrong, as the refusal says it; nothing may have been made, and the check says the same."""
    before = Alias.objects.count()
    with pytest.raises(ImportRefused) as refusal:
        make_aliases(found)
    assert Alias.objects.count() == before
    seen = found.problems + check_rows(found.candidates)
    assert sorted(seen, key=lambda problem: problem.line) == refusal.value.problems
    return [(problem.line, problem.reason) for problem in refusal.value.problems]


@pytest.fixture
def home(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)


def test_simplelogins_aliases_are_made_as_they_were(alice: User, home: EmailAddress) -> None:
    made = make_aliases(prepared(alice, read(SIMPLELOGIN_CSV, SIMPLELOGIN).rows))

    assert made == 3
    shop, off, bare = Alias.objects.owned_by(alice).with_destinations().order_by("pk")
    assert (shop.address, shop.enabled, shop.domain.name) == ("shop.one@example.com", True, "example.com")
    assert shop.note == 'Shoes, order "4711"\nsecond line'
    assert [row.email for row in shop.destination_addresses] == ["alice@example.com", "alice@home.test"]
    assert [row.email for row in bare.destination_addresses] == ["alice@example.com"]
    assert set(Alias.objects.receiving()) == {shop, bare}
    assert not off.enabled


def test_addys_aliases_are_made_the_deleted_ones_as_deleted(alice: User) -> None:
    make_aliases(prepared(alice, read(ADDY_CSV, ADDY).rows))

    shop, off, gone = Alias.objects.order_by("pk")
    assert (shop.name, shop.note, off.enabled) == ("Alice A", "Shoes", False)
    assert set(Alias.objects.present()) == {shop, off}
    gone.restore()
    assert set(Alias.objects.present()) == {shop, off, gone}


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("no address", "This is no e-mail address."),
        ("postmaster@example.com", "This name is reserved."),
        ("bounce.x@example.com", "This name is reserved."),
        ("a+tag@example.com", "A name consists of lower-case letters"),
        ("a__b@example.com", "A name consists of lower-case letters"),
        ("a@elsewhere.test", "There is no domain elsewhere.test here with the Anonymous Email Service on."),
        ("a@off.test", "There is no domain off.test here with the Anonymous Email Service on."),
        ("a@other.org", "The owner has no access to the domain other.org."),
        ("mine@example.com", "This alias is here already."),
        ("hers@example.com", "This address is taken."),
        ("stripped@example.com", "This address is taken."),
        ("mallory@example.com", "This address is taken."),
        ("alice@example.com", "This address is taken."),
        ("tagged@example.com", "This address is taken."),
        ("a@shared.test", "On the domain shared.test nobody chooses the whole of a name"),
        ("\x00@example.com", "This is no e-mail address."),
        ("", "This is no e-mail address."),
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
        # Not even verified.
        EmailAddress.objects.create(user=mallory, email=email)

    found = problems(of(alice, "good.one@example.com", address, "good.two@example.com"))

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

    assert problems(prepared(alice, rows)) == [
        (3, "It is in the file already (see 2)."),
        (4, "new@home.test is no verified address of the alias's owner."),
        (5, "mallory@evil.test is no verified address of the alias's owner."),
        (6, "A note has at most 10,000 characters."),
        (7, "A name has at most 128 characters."),
        (8, "The text contains invalid characters."),
        (9, "A destination is not a valid e-mail address."),
        (10, "Unreadable."),
    ]


def test_what_is_written_is_stored_as_elsewhere(alice: User) -> None:
    rows = of(alice, "A.b@Example.COM", note="Website: https://x.test/r?key=1", hostname="https://x.test/a")

    make_aliases(rows)

    alias = Alias.objects.get()
    assert (alias.address, alias.note, alias.hostname) == ("a.b@example.com", "Website: x.test", "x.test")


def test_an_owner_without_a_verified_primary_address_needs_destinations(alice: User) -> None:
    EmailAddress.objects.filter(user=alice).update(verified=False)

    assert problems(of(alice, "a@example.com")) == [(2, "The owner has no verified primary address.")]


def test_the_quota_counts_rows_and_aliases_but_no_deleted_ones(alice: User, example_com: Domain) -> None:
    example_com.alias_quota = 3
    example_com.save()
    issue(owner=alice)
    issue(owner=alice).soft_delete()

    over = problems(of(alice, "a@example.com", "b@example.com", "c@example.com"))
    fitting = [Row(2, "gone@example.com", deleted=True), Row(3, "a@example.com"), Row(4, "b@example.com")]
    make_aliases(prepared(alice, fitting))

    assert over == [(4, "The domain allows its people 3 aliases each.")]
    assert Alias.objects.present().count() == 3


def test_where_nobody_chooses_names_an_import_tells_of_nobody(alice: User, example_com: Domain) -> None:
    Domain.objects.filter(pk=example_com.pk).update(is_shared=True)
    rows = [Row(2, alice.email), Row(3, "free@example.com")]

    problems = check_rows(prepare(rows, lambda row: alice).candidates)

    assert [problem.is_taken for problem in problems] == [False, False]
    assert len({problem.reason for problem in problems}) == 1


def test_an_admin_may_bring_whole_names_to_a_shared_domain(alice: User, example_com: Domain) -> None:
    example_com.is_shared = True
    example_com.save()

    assert make_aliases(of(alice, "a@example.com"), by_admin=True) == 1


def test_the_limits_of_creation_do_not_count_an_import(alice: User) -> None:
    many = of(alice, *(f"a{number}@example.com" for number in range(settings.ALIASES_PER_HOUR + 1)))

    assert make_aliases(many) == settings.ALIASES_PER_HOUR + 1
    assert issue(owner=alice)


def test_a_deactivated_user_imports_nothing(alice: User) -> None:
    alice.deactivate()

    assert problems(of(alice, "a@example.com")) == [(2, "The owner has no access to the domain example.com.")]


def test_many_rows_take_few_statements(alice: User) -> None:
    counts = {}
    for number in (10, 2000):
        rows = of(alice, *(f"n{number}-{key}@example.com" for key in range(number)))
        with CaptureQueriesContext(connection) as asked:
            assert check_rows(rows.candidates) == []
        with CaptureQueriesContext(connection) as written:
            make_aliases(rows)
        inserts = sum(query["sql"].startswith("INSERT") for query in written)
        counts[number] = (len(asked), sum(query["sql"].startswith("SELECT") for query in written))

    assert counts[10] == counts[2000]
    # Domains, usable ones, own addresses, aliases, own addresses in the way, tagged ones, addresses held.
    assert counts[10][0] == 7
    # SQLite takes few parameters in a statement, so there the rows go in some dozens at a time.
    assert inserts <= 2000 / 25


def test_many_owners_take_one_statement_more_each(example_com: Domain) -> None:
    """The one whether the owner may create there."""
    owners = [User.objects.create_user(f"p{number}@example.com") for number in range(12)]
    by_email = {owner.email: owner for owner in owners}
    counts = {}
    for number in (2, 12):
        rows = [Row(2, f"n{number}-{owner.pk}@example.com", owner=owner.email) for owner in owners[:number]]
        found = prepare(rows, lambda row: by_email[row.owner])
        with CaptureQueriesContext(connection) as asked:
            assert check_rows(found.candidates) == []
        counts[number] = len(asked)

    assert counts[12] - counts[2] == 10


def test_chunks_make_no_difference(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK", 3)
    issue_chosen(owner=alice, prefix="a5")
    addresses = [f"a{number}@example.com" for number in range(11)]

    assert problems(of(alice, *addresses)) == [(7, "This alias is here already.")]
    addresses.remove("a5@example.com")
    assert make_aliases(of(alice, *addresses)) == 10
    assert not Alias.objects.filter(destination_links=None).exists()


def test_our_own_export_comes_back_as_it_was(alice: User, home: EmailAddress) -> None:
    plain = issue(owner=alice, hostname="github.com", note='=HYPERLINK("x")\n\'@b')
    plain.edit(name="-Git", pinned=True)
    set_expiry(plain, expires_at=timezone.now() + timedelta(days=9), idle_days=30, unused_days=None)
    issue(owner=alice, note="'=x", destinations=[home.email, alice.email]).disable()
    issue(owner=alice, note="a,b;c\td").soft_delete()
    kept = ("address", "enabled", "pinned", "note", "name", "hostname", "destinations")
    kept += ("expires_at", "idle_days", "unused_days")

    def known() -> list[list[Any]]:
        aliases = Alias.objects.with_destinations().order_by("address")
        return [[*(alias_row(alias)[key] for key in kept), alias.is_deleted] for alias in aliases]

    before, text = known(), "".join(aliases_csv(alice))
    Alias.objects.all().strip()
    Alias.objects.all().delete()
    make_aliases(prepared(alice, read(text, ANONMAIL).rows))

    assert known() == before


def test_what_has_ended_comes_back_without_its_rules(alice: User) -> None:
    alias = issue(owner=alice)
    set_expiry(alias, expires_at=None, idle_days=5, unused_days=None)
    AliasExpiry.objects.update(expired_at=timezone.now())

    (_header, row) = csv.reader(aliases_csv(alice))

    assert row[-3:] == ["", "", ""]


def test_a_day_that_passed_while_the_alias_was_off_stops_no_import(alice: User) -> None:
    alias = issue(owner=alice)
    alias.disable()
    yesterday = timezone.now() - timedelta(days=1)
    AliasExpiry.objects.create(alias=alias, expires_at=yesterday, idle_days=30)

    text = "".join(aliases_csv(alice))

    assert prepared(alice, read(text, ANONMAIL).rows).problems == []
    assert list(csv.reader([text.splitlines()[1]]))[0][-3:] == ["", "30", ""]


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("expires_at", "soon", "“soon” in the column expires_at is no date."),
        (
            "expires_at",
            "0001-01-01T00:00+14:00",
            "“0001-01-01T00:00+14:00” in the column expires_at is no date.",
        ),
        ("expires_at", "2001-01-01", "An alias expires in the future, within ten years."),
        ("expires_at", "9999-12-31", "An alias expires in the future, within ten years."),
        ("idle_days", "0", "An alias expires after 1 to 3,650 days."),
        ("idle_days", "-1", "“-1” in the column idle_days is no number of days."),
        ("unused_days", "９", "“９” in the column unused_days is no number of days."),
        ("unused_days", "99999", "An alias expires after 1 to 3,650 days."),
    ],
)
def test_a_rule_of_expiry_that_cannot_be_is_a_bad_row(
    alice: User, column: str, cell: str, reason: str
) -> None:
    rows = read(f"address,{column}\na@example.com,{cell}\n", ANONMAIL).rows

    assert problems(prepared(alice, rows)) == [(2, reason)]


def test_a_date_without_an_offset_is_in_utc(alice: User) -> None:
    day = (timezone.now() + timedelta(days=400)).date().isoformat()
    rows = read(f"address,expires_at\na@example.com,{day}\n", ANONMAIL).rows

    make_aliases(prepared(alice, rows))

    assert AliasExpiry.objects.get().expires_at.isoformat() == f"{day}T00:00:00+00:00"  # type: ignore[union-attr]


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_no_cell_of_an_export_is_a_formula(alice: User, formula: str) -> None:
    EmailAddress.objects.create(user=alice, email="=1+cmd@home.test", verified=True)
    alias = issue(owner=alice, note=formula, destinations=["=1+cmd@home.test"])
    alias.edit(name=formula)

    for text in ("".join(aliases_csv(alice)), "".join(simplelogin_csv(alice))):
        cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
        assert f"'{formula}" in cells
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_an_own_address_that_comes_in_between_stops_the_import(
    alice: User, mallory: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = importing._Check.problems

    def then_add(self: Any) -> Any:
        found = check(self)
        EmailAddress.objects.create(user=mallory, email="a+x@example.com")
        return found

    monkeypatch.setattr(importing._Check, "problems", then_add)

    with pytest.raises(ImportRefused) as refusal:
        make_aliases(of(alice, "a@example.com"))

    assert refusal.value.problems[0].is_taken
    assert not Alias.objects.exists()


def test_an_alias_that_comes_in_between_stops_the_import(
    alice: User, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing._Check, "problems", lambda self: self._ask() or [])
    issue_chosen(owner=root, prefix="b", domain="example.com")

    with pytest.raises(ImportRefused) as refusal:
        make_aliases(of(alice, "a@example.com", "b@example.com"))

    assert refusal.value.problems[0].reason == "Something changed in the same moment. Try again."
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
            made.append(make_aliases(rows))
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
