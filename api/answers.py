"""What a call answers: JSON."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from rest_framework.utils.encoders import JSONEncoder

_ENCODER = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Answer(HttpResponse):
    """Data as JSON; None: an empty body."""

    def __init__(self, data: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        if data is None:
            super().__init__(status=status, headers=headers)
            del self.headers["Content-Type"]
        else:
            body = _ENCODER.encode(data).encode()
            super().__init__(body, status=status, headers=headers, content_type="application/json")
