"""What a call answers: JSON."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.utils.encoders import JSONEncoder


class _Encoder(JSONEncoder):
    """REST framework's, which writes an id after it has asked whether it is anything else."""

    def default(self, obj: Any) -> Any:
        return _text_of(obj) if isinstance(obj, UUID) else super().default(obj)


# A list has the same ids of owner and domain in each of its rows.
@lru_cache(4096)
def _text_of(key: UUID) -> str:
    return str(key)


_ENCODER = _Encoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Answer(HttpResponse):
    """Data as JSON; None: an empty body."""

    def __init__(self, data: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        if data is None:
            super().__init__(status=status, headers=headers)
            del self.headers["Content-Type"]
        else:
            body = _ENCODER.encode(data).encode()
            super().__init__(body, status=status, headers=headers, content_type="application/json")

    def items(self) -> Iterable[tuple[str, str]]:
        """Its headers, for the server; Django's own finds each of them by its name again."""
        return self.headers._store.values()
