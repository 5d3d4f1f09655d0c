"""Rows as JSON, in one column of a statement."""

from typing import Any

from django.db.models import Func
from django.db.models.functions import JSONArray, JSONObject


class _Json:
    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # Django's own first asks whether there is JSON, in a transaction, which waits for any other writer.
        return Func.as_sql(self, compiler, connection, **context)  # type: ignore[arg-type]


class JsonArray(_Json, JSONArray):
    """Expressions as a JSON array."""


class JsonObject(_Json, JSONObject):
    """Expressions as a JSON object."""
