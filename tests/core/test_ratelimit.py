"""Counters: exact over threads and processes, forgotten when their period ends."""

import hmac
import threading
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from django.utils import timezone

from core.exceptions import RateLimited
from core.ratelimit import Counter, Limit, count_or_refuse, count_within, hide, refuse_used_up

HOUR = Limit("hour", 3, timedelta(hours=1))
DAY = Limit("day", 5, timedelta(days=1))


@pytest.mark.django_db
def test_several_limits_are_counted_in_one_statement(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        hits = Counter.objects.all().hit((HOUR, "a"), (DAY, "a"))

    assert {hit.limit.scope: hit.count for hit in hits} == {"hour": 1, "day": 1}
    assert not any(hit.is_over for hit in hits)


@pytest.mark.django_db
def test_a_period_begins_with_its_first_hit_and_then_all_begins_anew() -> None:
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        counts = [Counter.objects.all().hit((HOUR, "a"))[0] for _ in range(4)]
    with time_machine.travel(start + timedelta(minutes=59), tick=False):
        late = Counter.objects.all().hit((HOUR, "a"))[0]
        retry_after = late.retry_after
    with time_machine.travel(start + timedelta(hours=1), tick=False):
        anew = Counter.objects.all().hit((HOUR, "a"))[0]

    assert [hit.is_over for hit in counts] == [False, False, False, True]
    assert (late.count, retry_after) == (5, 60)
    assert (anew.count, anew.expires) == (1, start + timedelta(hours=2))


@pytest.mark.django_db
def test_keys_and_scopes_are_counted_apart() -> None:
    Counter.objects.all().hit((HOUR, "a"))

    assert Counter.objects.all().hit((HOUR, "b"))[0].count == 1
    assert Counter.objects.all().hit((DAY, "a"))[0].count == 1
    assert Counter.objects.all().hit((HOUR, "a"))[0].count == 2


@pytest.mark.django_db
def test_a_hit_may_count_several_or_none() -> None:
    start = timezone.now()
    few, none = Limit("few", 9, timedelta(hours=1), 4), Limit("few", 9, timedelta(hours=1), 0)
    with time_machine.travel(start, tick=False):
        counts = [Counter.objects.all().hit((limit, "a"))[0].count for limit in (none, few, none, few, none)]
    with time_machine.travel(start + timedelta(hours=1), tick=False):
        counts.append(Counter.objects.all().hit((few, "a"))[0].count)

    assert counts == [0, 4, 4, 8, 8, 4]


@pytest.mark.django_db
def test_a_roll_back_takes_hits_back() -> None:
    class Refused(Exception):
        pass

    def refuse() -> None:
        with transaction.atomic():
            Counter.objects.all().hit((HOUR, "a"))
            raise Refused

    for _ in range(3):
        with pytest.raises(Refused):
            refuse()

    assert Counter.objects.all().hit((HOUR, "a"))[0].count == 1


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_no_hit_is_lost_between_threads() -> None:
    many = Limit("many", 10_000, timedelta(hours=1))
    problems: list[BaseException] = []

    def hit() -> None:
        try:
            for number in range(50):
                with transaction.atomic():
                    # two keys in either order: no deadlock
                    pairs = [(many, "a"), (many, "b")]
                    Counter.objects.all().hit(*(pairs if number % 2 else reversed(pairs)))
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=hit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert [row.count for row in Counter.objects.all()] == [400, 400]


@pytest.mark.django_db
def test_a_counter_of_a_wrong_clock_locks_nobody_out() -> None:
    """The clock was a year ahead, and somebody reached the limit: that counts for nothing today."""
    with time_machine.travel(timezone.now() + timedelta(days=365)):
        for _ in range(5):
            Counter.objects.all().hit((HOUR, "a"))
    Counter.objects.all().hit((DAY, "a"))

    assert Counter.objects.all().used_up(HOUR, "a") is None
    hits = {hit.limit: hit for hit in Counter.objects.all().hit((HOUR, "a"), (DAY, "a"))}

    assert (hits[HOUR].count, hits[DAY].count) == (1, 2)
    assert hits[HOUR].retry_after <= 3600


@pytest.mark.django_db
def test_a_counter_of_a_wrong_clock_is_counted_anew_and_no_other_one_of_that_limit() -> None:
    with time_machine.travel(timezone.now() + timedelta(days=365)):
        Counter.objects.all().hit((HOUR, "a"))
    Counter.objects.all().hit((HOUR, "b"))

    hits = Counter.objects.all().hit((HOUR, "a"), (HOUR, "b"))

    assert sorted(hit.count for hit in hits) == [1, 2]
    assert sorted(row.count for row in Counter.objects.all()) == [1, 2]


@pytest.mark.django_db
def test_clocks_that_differ_by_a_little_count_together() -> None:
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        Counter.objects.all().hit((HOUR, "a"))

    assert Counter.objects.all().hit((HOUR, "a"))[0].count == 2


@pytest.mark.django_db
def test_whether_a_limit_is_used_up_is_asked_without_counting() -> None:
    for _ in range(HOUR.amount):
        assert Counter.objects.all().used_up(HOUR, "a") is None
        Counter.objects.all().hit((HOUR, "a"))

    over = [Counter.objects.all().used_up(HOUR, "a") for _ in range(3)]

    assert all(hit is not None and hit.is_over for hit in over)
    assert Counter.objects.get().count == HOUR.amount
    with time_machine.travel(timezone.now() + timedelta(hours=2)):
        assert Counter.objects.all().used_up(HOUR, "a") is None


@pytest.mark.django_db
def test_whoever_passes_a_limit_is_refused_until_the_longest_one_ends() -> None:
    few = Limit("few", 1, timedelta(hours=2), refusal="Again in %(minutes)s minutes, or %(hours)s hours.")
    fewer = Limit("fewer", 0, timedelta(hours=1), refusal="Later.")
    with time_machine.travel(timezone.now(), tick=False):
        count_or_refuse((few, "a"), (HOUR, "a"))
        assert count_within(few, "b")
        refuse_used_up(few, "c")

        with pytest.raises(RateLimited) as refused:
            count_or_refuse((few, "a"), (fewer, "a"), (HOUR, "a"))

        assert (str(refused.value), refused.value.retry_after) == ("Again in 120 minutes, or 2 hours.", 7200)
        assert not count_within(few, "a")
        with pytest.raises(RateLimited, match="Again"):
            refuse_used_up(few, "a")


@pytest.mark.parametrize("key", [1, "192.0.2.0/24", ("a", 2), "ü", ""])
def test_a_key_is_hidden_by_an_hmac_of_the_secret_key(key: object, settings: Any) -> None:
    for secret in ("one", "other" * 40):
        settings.SECRET_KEY = secret
        expected = hmac.new(secret.encode(), f"counter:{key}".encode(), "sha256").hexdigest()

        assert hide(key) == hide(key) == expected
