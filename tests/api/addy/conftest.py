import pytest
from allauth.account.models import EmailAddress

from accounts.models import User
from aliases.models import NameSpace
from aliases.spaces import give, give_subdomain
from domains.models import Domain


@pytest.fixture
def home(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)


@pytest.fixture
def spaces_of(alice: User, example_com: Domain, other_org: Domain) -> dict[str, NameSpace]:
    """Alice's name space of each kind, by addy.io's word for it."""
    whole = give_subdomain(domain=example_com, owner=alice, label="alice")
    other_org.grant(alice)
    return {"domain": whole, "username": give(domain=other_org, owner=alice, suffix="alice")}
