import pytest

from accounts.models import User
from domains.models import Domain


@pytest.fixture
def shared_org(alice: User) -> Domain:
    """A domain with ordinary mailboxes, on which alice may create."""
    domain = Domain.objects.create(name="shared.org", anonmail_enabled=True, is_shared=True)
    domain.grant(alice)
    return domain
