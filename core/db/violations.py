"""What an IntegrityError is about: a value that exists already, a row that is gone, or a fault of ours."""

from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, models

# PostgreSQL's SQLSTATEs (Appendix A) and SQLite's extended result codes.
_UNIQUE = {"23505", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}
_FOREIGN_KEY = {"23503", "SQLITE_CONSTRAINT_FOREIGNKEY"}


def is_duplicate(error: IntegrityError, field: "models.Field[Any, Any] | None" = None) -> bool:
    """Whether a unique constraint was violated; that of this field alone, if one is given."""
    if _code(error) not in _UNIQUE:
        return False
    if field is None:
        return True
    detail = getattr(getattr(error.__cause__, "diag", None), "message_detail", None)
    if detail:
        # "Key (address)=(a@example.com) already exists.", but the words are in the server's language.
        return str(detail).partition("(")[2].startswith(f"{field.column})=")
    return str(error).endswith(f" {field.model._meta.db_table}.{field.column}")


def is_dangling(error: IntegrityError) -> bool:
    """Whether a row that is referred to has gone."""
    return _code(error) in _FOREIGN_KEY or isinstance(error.__cause__, ObjectDoesNotExist)


def is_conflict(error: IntegrityError) -> bool:
    """Whether somebody else's change at the same moment explains it."""
    return is_duplicate(error) or is_dangling(error)


def _code(error: IntegrityError) -> str:
    cause = error.__cause__
    return str(getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", ""))
