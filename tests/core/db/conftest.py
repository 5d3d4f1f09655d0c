from collections.abc import Sequence
from typing import Any

import pytest

from core.db.postgresql import base


@pytest.fixture
def exchanged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many statements each message to PostgreSQL had."""
    sizes: list[int] = []
    exchange = base.exchange

    def note(own: Any, statements: Sequence[Any]) -> Any:
        sizes.append(len(statements))
        return exchange(own, statements)

    monkeypatch.setattr(base, "exchange", note)
    return sizes
