"""A database that takes no changes: what reads works, and what writes is answered 503, in our words."""

import logging
from typing import Any

import pytest

from accounts.models import User
from tests.api.endpoints import CALLS
from tests.api.refusals.anywhere import AWAY
from tests.api.test_statements import Caller
from tests.conftest import Api
from tests.rig.read_only import read_only

pytestmark = pytest.mark.django_db

WRITES = ("INSERT", "UPDATE", "DELETE")


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_a_call_that_writes_is_answered_503_and_one_that_reads_as_ever(
    alice: User,
    api: Api,
    method: str,
    path: str,
    body: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caller = Caller(alice, api)
    caller.cost(method, path, body, 1)  # what is made once: a token's last use, a row of settings
    status, _number = caller.cost(method, path, body, 1)
    writes = any(statement.startswith(WRITES) for statement in caller.statements)
    caller.during = read_only
    caplog.clear()

    without = caller.cost(method, path, body, 1)[0]

    assert without == (503 if writes else status)
    assert not [record for record in caplog.records if record.levelno > logging.WARNING or record.exc_info]
    if writes:
        assert caller.answer["Retry-After"] == "5"
        assert list(caller.answer.json().values()) == [AWAY]
