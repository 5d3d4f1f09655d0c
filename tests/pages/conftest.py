"""A browser in which alice is signed in."""

import pytest
from django.test import Client

from accounts.models import User


@pytest.fixture
def browser(alice: User, client: Client) -> Client:
    """Alice's, signed in a moment ago."""
    client.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})
    return client
