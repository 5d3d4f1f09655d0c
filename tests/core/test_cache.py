"""The cache in the database: what is in it ends, whatever the clock said when it was written."""

from datetime import timedelta

import pytest
import time_machine
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from core.cache import SharedCache

pytestmark = pytest.mark.django_db


@pytest.fixture
def cache() -> SharedCache:
    return SharedCache("core_cache", {})


def rows() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM core_cache")
        return int(cursor.fetchone()[0])


def test_what_a_wrong_clock_wrote_counts_for_nothing(cache: SharedCache) -> None:
    """allauth keeps the times of tries, and a lock while it counts: both would hold for a year."""
    with time_machine.travel(timezone.now() + timedelta(days=365)):
        cache.set("tries", [1, 2, 3], 60)
        cache.set("lock", True, 10)

    assert cache.get("tries", []) == []
    assert cache.add("lock", True, 10)
    assert not cache.add("lock", True, 10)


def test_what_is_kept_is_found_until_it_ends(cache: SharedCache) -> None:
    cache.set("tries", [1], 60)

    assert cache.get("tries") == [1]
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        assert cache.get("tries") is None


def test_what_has_ended_is_deleted_once_a_day(cache: SharedCache, settings: object) -> None:
    """A row for each address that somebody tried: a stranger makes thousands of them in a day."""
    settings.CACHES = {  # type: ignore[attr-defined]
        "default": {"BACKEND": "core.cache.SharedCache", "LOCATION": "core_cache"}
    }
    for number in range(3):
        cache.set(f"old{number}", 1, -5)
    with time_machine.travel(timezone.now() + timedelta(days=365)):
        cache.set("late", 1, 60)
    cache.set("present", 1, 60)

    call_command("prune_counters")

    assert rows() == 1
    assert cache.get("present") == 1
