"""What the tests of aliases share."""

import pytest
from allauth.account.models import EmailAddress

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias


@pytest.fixture
def home(alice: User) -> EmailAddress:
    """Alice's second verified address."""
    return EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice, hostname="www.github.com", note="mine", name="Alice")
