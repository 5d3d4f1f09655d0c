"""Alice's alias, her token that sends, and a next hop that remembers."""

import pytest

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from tests.rig.mail_doors import Hop
from tokens.models import Token
from tokens.scopes import Scope


@pytest.fixture
def hop() -> Hop:
    return Hop()


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


@pytest.fixture
def secret(alice: User) -> str:
    return Token.objects.issue(owner=alice, name="Thunderbird", scopes=Scope.SEND)[1]
