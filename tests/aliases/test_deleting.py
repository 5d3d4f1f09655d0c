"""An alias that is deleted, restored, or stripped of all but its address."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.db import IntegrityError, transaction
from django.utils import timezone
from pytest_django import Settings

from accounts.deletion import close_account
from accounts.models import User
from aliases import exceptions as refusals
from aliases import naming
from aliases.issuing import issue
from aliases.models import Alias, AliasDestination
from domains.models import Domain
from tests.rig.alias_life import fresh, later, sent_to

# --- Deleting and restoring --------------------------------------------------------------------


def test_a_deleted_alias_receives_nothing_and_is_in_no_list(alice: User, alias: Alias) -> None:
    alias.soft_delete()

    assert not Alias.objects.receiving().exists()
    assert not Alias.objects.owned_by(alice).present().exists()
    assert list(Alias.objects.owned_by(alice).deleted()) == [alias]


def test_deleting_again_does_not_prolong_the_time_for_restoring(alias: Alias) -> None:
    alias.soft_delete()
    first = alias.deleted_at

    with later(days=20):
        alias.soft_delete()

    assert fresh(alias).deleted_at == first


@pytest.mark.parametrize("enabled", [True, False])
def test_within_thirty_days_an_alias_comes_back_as_it_was(
    alias: Alias, home: EmailAddress, enabled: bool
) -> None:
    alias.set_destinations(["alice@home.test"])
    if not enabled:
        alias.disable()
    alias.soft_delete()

    with later(days=29, hours=23, minutes=59):
        alias.restore()

    kept = fresh(alias)
    assert not kept.is_deleted
    assert kept.enabled is enabled
    assert (kept.note, kept.name, kept.hostname) == ("mine", "Alice", "www.github.com")
    assert sent_to(alias) == ["alice@home.test"]


@pytest.mark.parametrize("days", [30, 31, 400])
def test_after_thirty_days_an_alias_does_not_come_back(alias: Alias, days: int) -> None:
    alias.soft_delete()

    with later(days=days, seconds=1), pytest.raises(refusals.NotRestorable):
        alias.restore()

    assert fresh(alias).is_deleted


def test_at_no_moment_an_alias_can_be_both_restored_and_purged(alias: Alias) -> None:
    alias.soft_delete()
    assert alias.restorable_until is not None

    with time_machine.travel(alias.restorable_until, tick=False):
        assert list(Alias.objects.purgeable()) == [alias]
        with pytest.raises(refusals.NotRestorable):
            alias.restore()
    with time_machine.travel(alias.restorable_until - timedelta(microseconds=1), tick=False):
        assert not Alias.objects.purgeable().exists()
        alias.restore()


def test_how_long_an_alias_can_be_restored_is_a_setting(alias: Alias, settings: Settings) -> None:
    settings.ALIAS_RESTORE_DAYS = 2
    alias.soft_delete()

    with later(days=3), pytest.raises(refusals.NotRestorable):
        alias.restore()


def test_an_alias_says_until_when_it_can_be_restored(alias: Alias) -> None:
    before = alias.restorable_until

    alias.soft_delete()

    assert before is None
    assert alias.deleted_at is not None
    assert alias.restorable_until == alias.deleted_at + timedelta(days=30)


def test_what_is_not_deleted_is_not_restored(alias: Alias) -> None:
    with pytest.raises(refusals.NotRestorable):
        alias.restore()


def test_restoring_respects_the_quota(alice: User, alias: Alias, example_com: Domain) -> None:
    Domain.objects.filter(pk=example_com.pk).update(alias_quota=1)
    alias.soft_delete()
    second = issue(owner=alice)

    with pytest.raises(refusals.QuotaReached):
        fresh(alias).restore()
    still_deleted = fresh(alias).is_deleted
    second.soft_delete()
    fresh(alias).restore()

    assert still_deleted
    assert list(Alias.objects.receiving()) == [alias]


def test_restoring_counts_as_no_creation(
    alice: User, alias: Alias, example_com: Domain, settings: Settings
) -> None:
    Domain.objects.filter(pk=example_com.pk).update(alias_quota=5)
    settings.ALIASES_PER_DAY = settings.ALIASES_PER_HOUR = 2
    alias.soft_delete()

    fresh(alias).restore()

    assert issue(owner=alice).pk
    assert Alias.objects.owned_by(alice).present().count() == 2


def test_a_restored_alias_needs_no_right_on_the_domain(alias: Alias, example_com: Domain) -> None:
    alias.soft_delete()
    example_com.set_anonmail(False)

    alias.restore()

    assert list(Alias.objects.receiving()) == [alias]


# --- Stripping ---------------------------------------------------------------------------------


def test_only_what_can_no_longer_be_restored_is_purged(alice: User, alias: Alias) -> None:
    other = issue(owner=alice)
    alias.soft_delete()

    with later(days=29):
        other.soft_delete()
    with later(days=31):
        purgeable = list(Alias.objects.purgeable())

    assert purgeable == [alias]


def test_stripping_leaves_the_address_alone(alias: Alias) -> None:
    Alias.objects.filter(pk=alias.pk).update(forwards=3, blocks=2, replies=1, pinned=True)
    alias.edit(note="secret")
    before = fresh(alias)
    alias.soft_delete()

    with later(days=31):
        count = Alias.objects.purgeable().strip()
        then = timezone.now()

    kept = fresh(alias)
    assert count == 1
    assert (kept.address, kept.domain) == (before.address, before.domain)
    assert kept.owner is None
    assert (kept.note, kept.name, kept.hostname) == ("", "", "")
    assert (kept.forwards, kept.blocks, kept.replies) == (0, 0, 0)
    assert (kept.enabled, kept.pinned) == (False, False)
    assert kept.created == kept.active_at == kept.deleted_at == then
    assert not AliasDestination.objects.exists()


def test_a_stripped_alias_does_not_come_back(alias: Alias) -> None:
    Alias.objects.filter(pk=alias.pk).strip()

    with pytest.raises(refusals.NotRestorable):
        fresh(alias).restore()


def test_stripping_some_leaves_the_others(alice: User, alias: Alias) -> None:
    other = issue(owner=alice)

    Alias.objects.filter(pk=alias.pk).strip()

    assert list(Alias.objects.receiving()) == [other]
    assert sent_to(other) == ["alice@example.com"]


def test_no_alias_is_without_owner_unless_it_is_deleted(alias: Alias) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Alias.objects.filter(pk=alias.pk).update(owner=None)


def test_the_database_itself_refuses_capitals(alias: Alias) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Alias.objects.filter(pk=alias.pk).update(address="Github.alpha@example.com")


def test_a_closed_account_leaves_addresses_that_stay_taken(
    alice: User, alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = User.objects.create_user("bob@example.com")
    local_part = alias.address.partition("@")[0]

    def candidates(site: str = "", style: str = "") -> Iterator[str]:
        return iter([local_part, f"{local_part}.red"])

    monkeypatch.setattr(naming, "candidates", candidates)

    close_account(alice)
    second = issue(owner=bob)

    assert not User.objects.filter(email="alice@example.com").exists()
    assert fresh(alias).owner is None
    assert second.address == f"{local_part}.red@example.com"
