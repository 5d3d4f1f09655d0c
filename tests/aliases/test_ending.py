"""Aliases that end by themselves: never by surprise, and never for good."""

import sqlite3
from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from aliases.ending import expire, set_expiry, warn
from aliases.exceptions import InvalidValue
from aliases.issuing import issue
from aliases.models import Alias, AliasExpiry, AliasPreferences
from domains.models import Domain
from tests.conftest import Api

pytestmark = pytest.mark.django_db


def ends(
    alias: Alias, *, at: timedelta | None = None, idle_days: int | None = None, unused_days: int | None = None
) -> None:
    expires_at = timezone.now() + at if at else None
    set_expiry(alias, expires_at=expires_at, idle_days=idle_days, unused_days=unused_days)


def after(days: float, deed: Callable[[], int]) -> int:
    with time_machine.travel(timezone.now() + timedelta(days=days), tick=False):
        return deed()


def is_enabled(alias: Alias) -> bool:
    return Alias.objects.get(pk=alias.pk).enabled


def test_nothing_ends_by_itself_unless_it_was_asked_for(alice: User) -> None:
    alias = issue(owner=alice, made_by_app=True)

    assert after(5000, warn) == after(5010, expire) == 0
    assert is_enabled(alias)


@pytest.mark.parametrize(
    "rule",
    [{"at": timedelta(days=30)}, {"idle_days": 30}, {"unused_days": 30}],
    ids=lambda rule: next(iter(rule)),
)
def test_an_alias_ends_a_week_after_its_owner_was_warned(alice: User, rule: dict[str, object]) -> None:
    alias, other = issue(owner=alice), issue(owner=alice)
    ends(alias, **rule)  # type: ignore[arg-type]

    assert after(22, warn) == 0
    assert after(31, expire) == 0  # nobody was warned
    assert after(24, warn) == 1
    assert after(25, warn) == 0  # once
    assert after(30.5, expire) == 0  # not a week ago
    assert after(31.5, expire) == 1

    assert [is_enabled(alias), is_enabled(other)] == [False, True]
    (message,) = mail.outbox
    assert message.to == ["alice@example.com"]
    assert alias.address in message.body
    assert f"/aliases/{alias.pk}/" in message.body
    assert other.address not in message.body
    assert AliasExpiry.objects.get().expired_at is not None


def test_mail_keeps_an_alias_alive_that_ends_without_mail(alice: User) -> None:
    alias = issue(owner=alice)
    ends(alias, idle_days=30)
    assert after(24, warn) == 1
    Alias.objects.filter(pk=alias.pk).update(active_at=timezone.now() + timedelta(days=26), forwards=1)

    assert after(32, expire) == 0
    assert after(50, warn) == 1  # of the new end
    assert after(56.5, expire) == 0
    assert after(57.5, expire) == 1


def test_a_day_within_the_week_is_kept_to_without_a_warning(alice: User) -> None:
    alias = issue(owner=alice)
    ends(alias, at=timedelta(days=3))

    assert after(0, warn) == 0
    assert after(2.9, expire) == 0
    assert after(3.1, expire) == 1
    assert not is_enabled(alias)


def test_the_end_that_is_shown_leaves_a_week_after_the_warning(alice: User) -> None:
    alias = issue(owner=alice)
    ends(alias, unused_days=2)
    unwarned = AliasExpiry.objects.get().ends
    assert after(1, warn) == 1
    warned = AliasExpiry.objects.get().ends

    assert unwarned is not None
    assert warned is not None
    assert 6 <= (unwarned - timezone.now()).days <= 7
    assert 7 <= (warned - timezone.now()).days <= 8
    assert after(7.9, expire) == 0
    assert after(8.1, expire) == 1


def test_mail_does_not_move_a_date(alice: User) -> None:
    alias = issue(owner=alice)
    ends(alias, at=timedelta(days=30))
    assert after(24, warn) == 1
    Alias.objects.filter(pk=alias.pk).update(active_at=timezone.now() + timedelta(days=26), forwards=1)

    assert after(27, warn) == 0
    assert after(32, expire) == 1


def test_an_alias_that_was_used_once_is_not_unused(alice: User) -> None:
    alias = issue(owner=alice)
    ends(alias, unused_days=10)
    Alias.objects.filter(pk=alias.pk).update(blocks=1)

    assert after(20, warn) == after(30, expire) == 0


def test_enabling_it_again_ends_the_ending(alice: User) -> None:
    alias, toggled = issue(owner=alice), issue(owner=alice)
    for each in (alias, toggled):
        ends(each, idle_days=10)
    assert after(5, warn) == 2
    assert after(13, expire) == 2

    alias.refresh_from_db()
    alias.enable()
    assert Alias.objects.get(pk=toggled.pk).toggle() is True

    assert not AliasExpiry.objects.exists()
    assert after(100, warn) == after(120, expire) == 0


def test_disabling_and_enabling_by_hand_keeps_the_rules(alice: User) -> None:
    alias = issue(owner=alice)
    ends(alias, idle_days=10)

    alias.disable()
    alias.enable()

    assert AliasExpiry.objects.get().idle_days == 10


def test_what_is_off_already_is_not_warned_about(alice: User) -> None:
    disabled, deleted = issue(owner=alice), issue(owner=alice)
    for each in (disabled, deleted):
        ends(each, idle_days=10)
    disabled.disable()
    deleted.soft_delete()

    assert after(20, warn) == 0
    assert mail.outbox == []


@pytest.mark.parametrize(
    "rule",
    [{"idle_days": 0}, {"unused_days": 3651}, {"at": timedelta(days=-1)}, {"at": timedelta(days=3651)}],
)
def test_a_rule_that_makes_no_sense_is_refused(alice: User, rule: dict[str, object]) -> None:
    alias = issue(owner=alice)

    with pytest.raises(InvalidValue):
        ends(alias, **rule)  # type: ignore[arg-type]
    assert not AliasExpiry.objects.exists()


def test_a_users_defaults_hold_for_new_aliases(alice: User, api: Api) -> None:
    before = issue(owner=alice)
    AliasPreferences.objects.create(user=alice, idle_days=100, unused_days=5)
    by_page = issue(owner=alice)
    by_app = api(alice).post("/api/alias/random/new").json()["id"]

    rules = {row.alias_id: (row.idle_days, row.unused_days) for row in AliasExpiry.objects.all()}

    assert rules == {by_page.pk: (100, None), by_app: (100, 5)}
    assert before.pk not in rules


def many(owner: User, number: int, **rules: int) -> list[AliasExpiry]:
    """Expiries, not stored yet, of as many new aliases."""
    domain = Domain.objects.get(name="example.com")
    aliases = Alias.objects.bulk_create(
        Alias(address=f"many{index}@example.com", domain=domain, owner=owner) for index in range(number)
    )
    return [AliasExpiry(alias=alias, **rules) for alias in aliases]


def test_each_alias_may_ask_for_another_number_of_days(alice: User) -> None:
    rows = many(alice, 1100)
    for days, row in enumerate(rows, 1):
        row.idle_days = row.unused_days = days
    AliasExpiry.objects.bulk_create(rows)

    assert after(1093, warn) == 1100
    assert after(1093 + 6, expire) == 0
    assert after(1093 + 8, expire) == 1100


@pytest.mark.sqlite
def test_one_owner_may_have_more_than_a_statement_has_room_for(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aliases.ending.BATCH", 20)
    AliasExpiry.objects.bulk_create(many(alice, 50, idle_days=10))
    room = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 30)
    try:
        assert after(5, warn) == 50
        assert after(13, expire) == 50
    finally:
        connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, room)


def test_the_owner_sets_and_sees_it_on_the_pages(alice: User, client: Client) -> None:
    alias = issue(owner=alice)
    client.force_login(alice)
    form = {"destinations": [alias.destination_addresses[0].pk], "note": "", "hostname": "", "name": ""}
    day = timezone.localdate() + timedelta(days=40)

    saved = client.post(f"/aliases/{alias.pk}/", form | {"expires_on": day.isoformat(), "idle_days": "30"})
    wrong = client.post(f"/aliases/{alias.pk}/", form | {"expires_on": "2001-01-01"})

    assert saved.status_code == 302
    assert wrong.status_code == 422
    row = AliasExpiry.objects.get()
    assert (row.idle_days, timezone.localdate(row.expires_at)) == (30, day)
    assert "expires" in client.get("/aliases/").content.decode()
    client.post("/account/", {"style": "words", "default_domain": "", "unused_days": "14"})
    assert AliasPreferences.objects.get(user=alice).unused_days == 14


def test_the_command_does_both(alice: User, capsys: pytest.CaptureFixture[str]) -> None:
    alias = issue(owner=alice)
    ends(alias, idle_days=5)

    call_command("expire_aliases")
    assert capsys.readouterr().out == "Disabled 0 aliases; warned of 1.\n"
    with time_machine.travel(timezone.now() + timedelta(days=8)):
        call_command("housekeeping")
    assert "Disabled 1 aliases; warned of 0." in capsys.readouterr().out
