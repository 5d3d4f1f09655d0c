"""The cache in the database, for the rate limits of the sign-in pages."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.db import DatabaseCache
from django.db import OperationalError, connection
from django.utils import timezone

# Entries last minutes. One that ends later was written while a clock was wrong.
LONGEST = timedelta(days=1)
TABLE = "core_cache"


class SharedCache(DatabaseCache):
    """Django's database cache, which drops entries that were written while a clock was wrong, and says so if
    the database takes no changes: Django's would say that an entry is there already."""

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        keys = list(keys)
        for key in keys:
            self._forget_late(key, version)
        return super().get_many(keys, version)

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        self._forget_late(key, version)
        return bool(super().add(key, value, timeout, version))

    def _base_set(self, mode: str, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT) -> bool:
        """Raises OperationalError if an entry that is not there could not be added: a full disk would look
        like too many attempts, or like a form that was sent twice."""
        is_set = bool(super()._base_set(mode, key, value, timeout))  # type: ignore[misc]
        if mode == "add" and not is_set and not self._is_there(key):
            raise OperationalError("the cache cannot be written")
        return is_set

    def _is_there(self, key: str) -> bool:
        with connection.cursor() as cursor:
            condition = "cache_key = %s AND expires >= %s"
            cursor.execute(f"SELECT 1 FROM {TABLE} WHERE {condition}", [key, _written(timezone.now())])  # noqa: S608
            return cursor.fetchone() is not None

    def prune(self) -> int:
        """Delete the entries that have ended or end too late, and return their number."""
        now = timezone.now()
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {TABLE} WHERE expires < %s OR expires > %s",  # noqa: S608
                [_written(now), _written(now + LONGEST)],
            )
            return int(cursor.rowcount)

    def _forget_late(self, key: str, version: int | None) -> None:
        """Delete the entry if it ends too late. It rarely does, and reading takes no lock."""
        condition = f"FROM {TABLE} WHERE cache_key = %s AND expires > %s"
        values = [self.make_and_validate_key(key, version=version), _written(timezone.now() + LONGEST)]
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 {condition}", values)  # noqa: S608
            if cursor.fetchone():
                cursor.execute(f"DELETE {condition}", values)  # noqa: S608


def _written(moment: Any) -> Any:
    """The moment as the table stores it, in whole seconds."""
    return connection.ops.adapt_datetimefield_value(moment.replace(microsecond=0))
