"""Counters behind rate limits: rows, so that all processes and hosts count together, exactly."""

import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.utils import timezone

from core.db.parameters import moment
from core.db.rows import params_of_rows, rows_in_statement, values_of_rows
from core.db.statements import Rows
from core.db.together import Statement
from core.exceptions import RateLimited

# The clocks of the hosts that count together may differ by this much.
CLOCK_SLACK = timedelta(minutes=5)


@dataclass(frozen=True)
class Limit:
    """At most `amount` of `scope` in `period`, per key.

    A hit adds `step`; 0 only reads. `refusal` is the sentence for callers over the limit, translated
    lazily; it may name the `%(minutes)s` or `%(hours)s` until the period ends.
    """

    scope: str
    amount: int
    period: timedelta
    step: int = 1
    refusal: Any = field(default="", compare=False)


@dataclass(frozen=True)
class Hit:
    """A counter's value after a hit: the count in the current period, and when that period ends."""

    limit: Limit
    count: int
    expires: datetime

    @property
    def is_over(self) -> bool:
        return self.count > self.limit.amount

    @property
    def retry_after(self) -> int:
        """Whole seconds until the period ends, at least 1."""
        return max(1, math.ceil((self.expires - timezone.now()).total_seconds()))

    @property
    def refused(self) -> RateLimited:
        """The refusal to raise, with the limit's own sentence."""
        waits = {"minutes": math.ceil(self.retry_after / 60), "hours": math.ceil(self.retry_after / 3600)}
        return RateLimited(str(self.limit.refusal % waits), retry_after=self.retry_after)


class CounterQuerySet(models.QuerySet["Counter"]):
    def hit(self, *pairs: tuple[Limit, object]) -> list[Hit]:
        """Count a hit for each (limit, key), in one statement, and return the new values.

        A period begins with the first hit after the previous one ended. Inside a transaction the
        counters' rows stay locked until its end, so callers with the same key take turns, and a
        rollback undoes the hits. Rows are written in a fixed order: no deadlocks. A period that ends
        later than one that begins now comes from a clock that was wrong; it starts over.
        """
        return hitting(*pairs).run()

    def drop_late(self, limit: Limit, key: object, now: datetime) -> None:
        """Forget a period that was begun while a clock was wrong: it would last until then."""
        self._at(limit, key).filter(expires__gt=now + limit.period + CLOCK_SLACK).delete()

    def used_up(self, limit: Limit, key: object) -> Hit | None:
        """The value after another hit, if that is over the limit; else None. Counts nothing.

        For what strangers can repeat without end: callers over the limit write no more rows.
        """
        now = timezone.now()
        row = self._at(limit, key).filter(
            count__gte=limit.amount, expires__gt=now, expires__lte=now + limit.period + CLOCK_SLACK
        )
        return next((Hit(limit, counter.count + 1, counter.expires) for counter in row), None)

    def _at(self, limit: Limit, key: object) -> "CounterQuerySet":
        return self.filter(scope=limit.scope, key=hide(key))

    def give_back(self, *pairs: tuple[Limit, object]) -> None:
        """Count one hit less for each (limit, key): what was counted did not happen after all.

        Rows are locked in the order of `hit`.
        """
        with transaction.atomic(using=self.db):
            rows = self._of(pairs).filter(count__gt=0).order_by("scope", "key").select_for_update()
            self.filter(pk__in=list(rows.values_list("pk", flat=True))).update(count=models.F("count") - 1)

    def forget(self, *pairs: tuple[Limit, object]) -> None:
        """Start over for each (limit, key)."""
        self._of(pairs).delete()

    def _of(self, pairs: Sequence[tuple[Limit, object]]) -> "CounterQuerySet":
        chosen = models.Q()
        for limit, key in pairs:
            chosen |= models.Q(scope=limit.scope, key=hide(key))
        return self.filter(chosen) if pairs else self.none()

    def expired(self) -> "CounterQuerySet":
        """Counters whose period has ended."""
        return self.filter(expires__lte=timezone.now())


class Counter(models.Model):
    """How often something happened in the current period, for one key.

    The key is a keyed digest: the table names no person and no network.
    """

    scope = models.CharField(max_length=40)
    key = models.CharField(max_length=64)
    count = models.PositiveIntegerField()
    expires = models.DateTimeField(db_index=True)

    objects = CounterQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["scope", "key"], name="counter_unique_key")]

    def __str__(self) -> str:
        return f"{self.scope} {self.count}"


def hitting(*pairs: tuple[Limit, object]) -> Statement[list[Hit]]:
    """`Counter.objects.hit`, as a statement to be run together with others."""
    now = timezone.now()
    connection = connections[DEFAULT_DB_ALIAS]
    begin = moment(now, connection)
    digests: dict[object, str] = {}
    limits = {}
    for limit, key in pairs:
        digest = digests.get(key) or digests.setdefault(key, hide(key))
        limits[limit.scope, digest] = limit
    given = [
        (*name, limits[name].step, moment(now + limits[name].period, connection)) for name in sorted(limits)
    ]
    sql = _hit_statement(connection.vendor, rows_in_statement(len(given), connection))

    def hits(rows: Rows) -> list[Hit]:
        found, late = [], set()
        for scope, digest, count, expires in rows:
            hit = Hit(limits[scope, digest], count, _as_datetime(expires))
            if hit.expires > now + hit.limit.period + CLOCK_SLACK:
                late.add((scope, digest))
            else:
                found.append(hit)
        if not late:
            return found
        again = [(limit, key) for limit, key in pairs if (limit.scope, digests[key]) in late]
        for limit, key in again:
            Counter.objects.drop_late(limit, key, now)
        return found + Counter.objects.hit(*again)

    return Statement(sql, [*params_of_rows(given, connection), begin, begin], hits)


@cache
def _hit_statement(vendor: str, number: int | None) -> str:
    connection, meta = connections[DEFAULT_DB_ALIAS], Counter._meta
    fields: list[Any] = [meta.get_field(name) for name in ("scope", "key", "count", "expires")]
    return (
        f"INSERT INTO {connection.ops.quote_name(meta.db_table)} AS kept (scope, key, count, expires) "  # noqa: S608
        f"{values_of_rows(fields, number, connection)} "
        "ON CONFLICT (scope, key) DO UPDATE SET "
        "count = excluded.count + CASE WHEN kept.expires <= %s THEN 0 ELSE kept.count END, "
        "expires = CASE WHEN kept.expires <= %s THEN excluded.expires ELSE kept.expires END "
        "RETURNING scope, key, count, expires"
    )


def hide(key: object) -> str:
    """The 64 hexadecimal digits that stand for `key` in the table."""
    keyed = _keyed(settings.SECRET_KEY).copy()
    keyed.update(f"counter:{key}".encode())
    return keyed.hexdigest()


@lru_cache(maxsize=1)
def _keyed(secret: str) -> hmac.HMAC:
    # OpenSSL looks up an algorithm by its name for longer than it takes to compute it.
    return hmac.new(secret.encode(), digestmod="sha256")


def count_or_refuse(*pairs: tuple[Limit, object]) -> None:
    """Count a hit for each (limit, key), in one statement.

    Raises RateLimited if one is over its limit; of several, for the one that lasts longest.
    """
    counting(*pairs).run()


def counting(*pairs: tuple[Limit, object]) -> Statement[None]:
    """`count_or_refuse`, as a statement to be run together with others."""
    counted = hitting(*pairs)

    def refuse(rows: Rows) -> None:
        if over := [hit for hit in counted.take(rows) if hit.is_over]:
            raise max(over, key=lambda hit: hit.expires).refused

    return Statement(counted.sql, counted.params, refuse)


def count_within(limit: Limit, key: object) -> bool:
    """Count a hit, and return whether it is within the limit."""
    (hit,) = Counter.objects.hit((limit, key))
    return not hit.is_over


def refuse_used_up(limit: Limit, key: object) -> None:
    """Raise RateLimited if another hit would be over the limit. Counts nothing."""
    if over := Counter.objects.used_up(limit, key):
        raise over.refused


def _as_datetime(value: datetime | str) -> datetime:
    """SQLite returns text, or a datetime without its zone: Django stores UTC there."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
