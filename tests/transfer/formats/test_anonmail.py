"""Our own export, written and read again."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone

from accounts.models import User
from aliases.ending import set_expiry
from aliases.issuing import issue
from aliases.models import Admits, Alias, AliasExpiry
from contacts.book import add_contact
from contacts.models import Contact
from tests.transfer.attempt import attempt
from transfer.formats import ANONMAIL, read
from transfer.formats.anonmail import alias_row, aliases_csv
from transfer.formats.simplelogin import simplelogin_csv

pytestmark = pytest.mark.django_db


@pytest.fixture
def home(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)


def test_our_own_export_comes_back_as_it_was(alice: User, home: EmailAddress) -> None:
    plain = issue(owner=alice, hostname="github.com", note='=HYPERLINK("x")\n\'@b')
    plain.edit(name="-Git", pinned=True)
    set_expiry(plain, expires_at=timezone.now() + timedelta(days=9), idle_days=30, unused_days=None)
    plain.edit(hides_replies=False, admits=Admits.KNOWN)
    add_contact(plain, '"Doe; Jane" <jane@shop.test>')
    add_contact(plain, "spam@shop.test")[0].block()
    issue(owner=alice, note="'=x", destinations=[home.email, alice.email]).disable()
    issue(owner=alice, note="a,b;c\td").soft_delete()
    kept = ("address", "enabled", "pinned", "note", "name", "hostname", "destinations")
    kept += ("expires_at", "idle_days", "unused_days", "hides_replies", "admits", "contacts")

    def known() -> list[list[Any]]:
        aliases = Alias.objects.with_destinations().order_by("address")
        return [[*(alias_row(alias)[key] for key in kept), alias.is_deleted] for alias in aliases]

    before, text = known(), "".join(aliases_csv(alice))
    reverse_addresses = set(Contact.objects.values_list("reverse_address", flat=True))
    Alias.objects.all().strip()
    Alias.objects.all().delete()
    attempt(alice, read(text, ANONMAIL).rows).make()

    assert known() == before
    # Each server has its own.
    assert reverse_addresses.isdisjoint(Contact.objects.values_list("reverse_address", flat=True))


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("contacts", "jane@shop.test", "must have a JSON array of objects with an address"),
        ("contacts", "{}x", "must have a JSON array"),
        ("contacts", "[7]", "must have a JSON array"),
        ("contacts", '[{"name": "Jane"}]', "must have a JSON array"),
        ("contacts", '[{"address": 7}]', "must have a JSON array"),
        ("contacts", '[{"address": "a@b.test", "blocked": "yes"}]', "must have a JSON array"),
        ("contacts", '[{"address": "nonsense"}]', "The contact “nonsense” is not a valid address."),
        ("contacts", "[" * 100_000, "must have a JSON array"),
        ("admits", "nobody", "“nobody” in the column admits is none of: all, known, known_later."),
        ("hides_replies", "perhaps", "“perhaps” in the column hides_replies is neither true nor false."),
    ],
)
def test_a_cell_that_cannot_be_meant_is_told_with_its_row(
    alice: User, column: str, cell: str, reason: str
) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([["address", column], ["shop.old@example.com", cell]])

    ((_line, told),) = attempt(alice, read(file.getvalue(), ANONMAIL).rows).problems()

    assert reason in told


def test_a_contact_that_is_the_alias_or_a_reverse_address_is_left_out(alice: User) -> None:
    named = ["shop.old@example.com", f"r.{'a' * 26}@example.com", "JANE@shop.test", "jane@shop.test"]
    cell = json.dumps([{"address": address} for address in named])
    file = io.StringIO()
    csv.writer(file).writerows([["address", "contacts"], ["shop.old@example.com", cell]])

    attempt(alice, read(file.getvalue(), ANONMAIL).rows).make()

    assert [contact.address for contact in Contact.objects.all()] == ["jane@shop.test"]


def test_what_has_ended_comes_back_without_its_rules(alice: User) -> None:
    alias = issue(owner=alice)
    set_expiry(alias, expires_at=None, idle_days=5, unused_days=None)
    AliasExpiry.objects.update(expired_at=timezone.now())

    (_header, row) = csv.reader(aliases_csv(alice))

    assert row[-6:-3] == ["", "", ""]


def test_a_day_that_passed_while_the_alias_was_off_stops_no_import(alice: User) -> None:
    alias = issue(owner=alice)
    alias.disable()
    yesterday = timezone.now() - timedelta(days=1)
    AliasExpiry.objects.create(alias=alias, expires_at=yesterday, idle_days=30)

    text = "".join(aliases_csv(alice))

    alias.soft_delete()
    Alias.objects.all().strip()
    Alias.objects.all().delete()
    assert attempt(alice, read(text, ANONMAIL).rows).check() == []
    assert list(csv.reader([text.splitlines()[1]]))[0][-6:-3] == ["", "30", ""]


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("expires_at", "soon", "“soon” in the column expires_at is not a date."),
        (
            "expires_at",
            "0001-01-01T00:00+14:00",
            "“0001-01-01T00:00+14:00” in the column expires_at is not a date.",
        ),
        ("expires_at", "2001-01-01", "An alias expires in the future, within ten years."),
        ("expires_at", "9999-12-31", "An alias expires in the future, within ten years."),
        ("idle_days", "0", "An alias expires after 1 to 3,650 days."),
        ("idle_days", "-1", "“-1” in the column idle_days is not a number of days."),
        ("unused_days", "９", "“９” in the column unused_days is not a number of days."),
        ("unused_days", "99999", "An alias expires after 1 to 3,650 days."),
    ],
)
def test_a_rule_of_expiry_that_cannot_be_is_a_bad_row(
    alice: User, column: str, cell: str, reason: str
) -> None:
    rows = read(f"address,{column}\na@example.com,{cell}\n", ANONMAIL).rows

    assert attempt(alice, rows).problems() == [(2, reason)]


def test_a_date_without_an_offset_is_in_utc(alice: User) -> None:
    day = (timezone.now() + timedelta(days=400)).date().isoformat()
    rows = read(f"address,expires_at\na@example.com,{day}\n", ANONMAIL).rows

    attempt(alice, rows).make()

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
