"""Where the published clients are, and a key for them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from accounts.models import User
from tests.conftest import missing
from tokens.models import Token
from tokens.scopes import EVERYTHING

CLIENTS = Path(sys.prefix) / "clients"


@pytest.fixture
def key(alice: User) -> str:
    """A token of alice's, as a client is given it."""
    _token, secret = Token.objects.issue(owner=alice, name="client", scopes=EVERYTHING)
    return f"{alice.email}:{secret}"


@pytest.fixture
def installed() -> Callable[[str, str], Path]:
    """The path of one file of a client, in the directory where `make test` has put it."""

    def path(client: str, file: str) -> Path:
        found = CLIENTS / client / file
        if not found.exists():
            missing(f"the published client {client}, which `make test` installs,")
        return found

    return path
