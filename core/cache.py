"""The cache in the database, behind the limits of the sign-in pages."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.core.cache.backends.db import DatabaseCache
from django.db import connections, router
from django.utils import timezone

# What is kept here counts minutes. What ends later was written while a clock was wrong.
LONGEST = timedelta(days=1)


class SharedCache(DatabaseCache):
    """Django's, in which nothing outlives a clock that was wrong, and what has ended can be deleted."""

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        keys = list(keys)
        self._forget([self.make_and_validate_key(key, version=version) for key in keys])
        return super().get_many(keys, version)

    def add(self, key: str, value: Any, timeout: Any = ..., version: int | None = None) -> bool:
        self._forget([self.make_and_validate_key(key, version=version)])
        given = {} if timeout is ... else {"timeout": timeout}
        return bool(super().add(key, value, version=version, **given))

    def prune(self) -> int:
        """Delete what has ended, and what ends too late; how many that were."""
        now = timezone.now()
        return self._run(
            "DELETE FROM {table} WHERE expires < %s OR expires > %s", [now, now + LONGEST], is_write=True
        )

    def _forget(self, keys: list[str]) -> None:
        """Delete those of the entries that end too late: usually none, which takes a look at the index."""
        if not keys:
            return
        where = f"{{table}} WHERE cache_key IN ({', '.join(['%s'] * len(keys))}) AND expires > %s"
        values = [*keys, timezone.now() + LONGEST]
        if self._run(f"SELECT COUNT(*) FROM {where}", values):
            self._run(f"DELETE FROM {where}", values, is_write=True)

    def _run(self, sql: str, values: list[Any], *, is_write: bool = False) -> int:
        """The number that a SELECT answers, or of the rows that were written. The last values may be times."""
        route = router.db_for_write if is_write else router.db_for_read
        connection = connections[route(self.cache_model_class)]
        adapt = connection.ops.adapt_datetimefield_value
        table = connection.ops.quote_name(self._table)
        values = [
            value if isinstance(value, str) else adapt(value.replace(microsecond=0)) for value in values
        ]
        with connection.cursor() as cursor:
            cursor.execute(sql.format(table=table), values)
            return int(cursor.rowcount if is_write else cursor.fetchone()[0])
