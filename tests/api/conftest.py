import pytest

from accounts.models import User
from tokens.models import Token
from tokens.scopes import EVERYTHING


@pytest.fixture
def key(alice: User) -> str:
    """A key of alice's that is good for everything, as a client sends it."""
    return f"{alice.email}:{Token.objects.issue(owner=alice, name='tests', scopes=EVERYTHING)[1]}"
