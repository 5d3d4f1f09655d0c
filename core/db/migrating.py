"""Migrating a database while others work with it."""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.db import OperationalError, connection

from core.db.locks import has_waited_in_vain

# Less than PostgreSQL's deadlock_timeout (a second): a migration gives way, and never a request.
LOCK_WAIT = timedelta(milliseconds=400)
LOCK_PAUSE = timedelta(seconds=1)
_TAKES_TABLES = re.compile(r"\b(ALTER|CREATE|DROP)\b")


def migrate(patience: timedelta) -> None:
    """Apply all migrations.

    On PostgreSQL, a migration that changes a table waits until nobody uses it, and whoever comes later waits
    behind it: for as long as a dump takes. So it waits for a moment only, is undone, and begins again later.
    Raises OperationalError if it waits in vain for longer than `patience`.
    """
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        try:
            with connection.execute_wrapper(_limit_wait):
                call_command("migrate", interactive=False, verbosity=0)
            return
        except OperationalError as error:
            if not has_waited_in_vain(error) or time.monotonic() > deadline:
                raise
        time.sleep(LOCK_PAUSE.total_seconds())


def _limit_wait(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Limit the wait before each change of a table, in the same transaction: a pooler may give the next one
    another connection. A migration without a transaction (an index that is built beside the work) waits."""
    database = context["connection"]
    if database.vendor == "postgresql" and database.in_atomic_block and _TAKES_TABLES.search(sql):
        limit = f"SET LOCAL lock_timeout = {LOCK_WAIT // timedelta(milliseconds=1)}"
        execute(limit, None, False, context)
    return execute(sql, params, many, context)
