"""Telling a database that is away, full, locked or read-only from a fault of ours."""

from enum import StrEnum

from django.db import InterfaceError, InternalError, OperationalError

# What a database that cannot do it now raises; PostgreSQL raises InternalError if it takes no changes.
UNAVAILABLE = (OperationalError, InterfaceError, InternalError)
# Seconds after which whoever is told "try again" may hope for it.
RETRY_AFTER = 5
# PostgreSQL's SQLSTATE (Appendix A): read_only_sql_transaction.
_READ_ONLY = "25006"
# SQLite's primary result codes (https://sqlite.org/rescode.html). Python's module has their names; it takes
# more than a megabyte, in each process, also where the database is PostgreSQL.
SQLITE_ERROR, SQLITE_BUSY, SQLITE_LOCKED, SQLITE_READONLY, SQLITE_FULL = 1, 5, 6, 8, 13


class Condition(StrEnum):
    """What a database can do."""

    OK = "ok"
    AWAY = "away"
    READ_ONLY = "read-only"
    FULL = "full"
    LOCKED = "locked"


# By SQLSTATE, or SQLite's primary result code.
_CONDITIONS: dict[str | int | None, Condition] = {
    _READ_ONLY: Condition.READ_ONLY,
    SQLITE_READONLY: Condition.READ_ONLY,
    "53100": Condition.FULL,
    SQLITE_FULL: Condition.FULL,
    "55P03": Condition.LOCKED,
    "57014": Condition.LOCKED,
    SQLITE_BUSY: Condition.LOCKED,
}


def is_unavailable(error: BaseException) -> bool:
    """Whether the database could not do it now, and may be able to later: the answer is "try again"."""
    cause = error.__cause__
    if isinstance(error, InternalError):
        return getattr(cause, "sqlstate", "") == _READ_ONLY
    if not isinstance(error, UNAVAILABLE):
        return False
    # SQLite raises OperationalError for a statement that is wrong too, such as one about no table of its.
    return primary_code(error) != SQLITE_ERROR


def condition_after(error: BaseException) -> Condition:
    """What the error of a write tells of the database."""
    code: str | int | None = primary_code(error)
    if code is None:
        code = getattr(error.__cause__, "sqlstate", None)
    return _CONDITIONS.get(code, Condition.AWAY)


def is_locked(error: BaseException) -> bool:
    """Whether another SQLite writer holds the database."""
    return primary_code(error) in {SQLITE_BUSY, SQLITE_LOCKED}


def primary_code(error: BaseException) -> int | None:
    """SQLite's primary result code of the error; None if it is not SQLite's."""
    code: int | None = getattr(error.__cause__, "sqlite_errorcode", None)
    # The lower octet is the primary code; SQLite adds others to it.
    return None if code is None else code & 0xFF
