"""What the tests of aliases share."""

import pytest
from allauth.account.models import EmailAddress

from accounts.models import User


@pytest.fixture
def home(alice: User) -> EmailAddress:
    """Alice's second verified address."""
    return EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
