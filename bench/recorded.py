"""The SQL statements of creates and lists, recorded, and run again by views without rules."""

import json
import os
import pickle
import secrets
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from itertools import cycle, groupby
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from core.db.statements import run


@dataclass(frozen=True)
class Statement:
    sql: str
    params: Any
    is_atomic: bool
    # The indexes of those parameters that say which alias it is.
    varying: tuple[int, ...] = ()


def write_record(create: Callable[[], None], users: int, path: Path) -> None:
    """Write what a create of each of so many users runs."""
    path.write_bytes(pickle.dumps([_record(create) for _ in range(users)]))


def _record(create: Callable[[], None]) -> Any:
    seen: list[Statement] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith(("SELECT", "INSERT")):
            return execute(sql, params, many, context)
        values = [value.value if isinstance(value, Enum) else value for value in params or ()]
        seen.append(Statement(sql, values, connection.in_atomic_block))
        return execute(sql, params, many, context)

    # A name that was taken makes further statements.
    while sum(each.sql.startswith('INSERT INTO "aliases_alias"') for each in seen) != 1:
        seen.clear()
        with connection.execute_wrapper(note):
            create()
    from aliases.models import Alias

    alias = Alias.objects.latest("pk")
    local_part = alias.address.partition("@")[0]
    own = {alias.pk, alias.uuid, f"{{{alias.pk}}}"}
    texts = (local_part, str(alias.uuid), alias.uuid.hex)

    def is_varying(value: Any) -> bool:
        return value in own or isinstance(value, str) and any(text in value for text in texts)

    seen = [
        replace(each, varying=tuple(n for n, value in enumerate(each.params) if is_varying(value)))
        for each in seen
    ]
    return seen, alias.pk, local_part, alias.uuid


@cache
def _recorded() -> Any:
    every = pickle.loads(Path(os.environ["RECORD"]).read_bytes())  # noqa: S301 - this run wrote it
    # Two processes do not meet at one user's counters.
    first = secrets.randbelow(len(every))
    return cycle(every[first:] + every[:first])


def run_again() -> None:
    """Run the next user's recorded statements for an alias with another address."""
    seen, key, local_part, identifier = next(_recorded())
    other, other_identifier, other_key = secrets.token_hex(8), uuid.uuid4(), None
    names = {
        local_part: other,
        str(identifier): str(other_identifier),
        identifier.hex: other_identifier.hex,
    }

    def changed(value: Any) -> Any:
        if value == identifier:
            return other_identifier
        if isinstance(value, str):
            # On PostgreSQL, values are elements of arrays, which are written as text.
            for old, new in names.items():
                value = value.replace(old, new)
            return f"{{{other_key}}}" if value == f"{{{key}}}" else value
        return other_key if value == key and other_key else value

    def run_one(each: Statement) -> None:
        nonlocal other_key
        params = list(each.params)
        for number in each.varying:
            params[number] = changed(params[number])
        rows = run(connection, each.sql, params)
        if each.sql.startswith('INSERT INTO "aliases_alias"'):
            ((_address, other_key, *_more),) = rows

    for is_atomic, statements in groupby(seen, lambda each: each.is_atomic):
        with transaction.atomic() if is_atomic else nullcontext():
            for each in statements:
                run_one(each)


def write_list(read: Callable[[], bytes], path: Path) -> None:
    """Write what a list runs, and what it answers."""
    seen: list[tuple[str, Any]] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        answer = read()
    path.write_bytes(pickle.dumps((seen, json.loads(answer))))


@cache
def _recorded_list() -> Any:
    return pickle.loads(Path(os.environ["RECORD"]).read_bytes())  # noqa: S301 - this run wrote it


def list_again() -> bytes:
    """Run the recorded statements of a list, and write the recorded answer as JSON."""
    statements, answer = _recorded_list()
    for sql, params in statements:
        run(connection, sql, params)
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
