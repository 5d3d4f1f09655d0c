"""Model fields that this project adds to Django's."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class ByteOrderedField(_CharField):
    """Text that both databases sort by its bytes, as SQLite does anyway.

    PostgreSQL would sort it as the database's language does, where no index in that order finds a prefix.
    Here one index finds values and prefixes and has the order. It must be a UniqueConstraint's or an
    Index's: for `unique` and `db_index` Django adds a second one for prefixes.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters
