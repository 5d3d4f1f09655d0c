"""Every way in which the API refuses a request: the status, the sentence, and that nothing was created."""

import pytest
from django.test import Client

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from tests.api.refusals.aliases import ALIASES
from tests.api.refusals.anywhere import ANYWHERE
from tests.api.refusals.creating import CREATING
from tests.api.refusals.keys import KEYS
from tests.api.refusals.pages_alone import PAGES_ALONE
from tests.api.refusals.rows import Row, World
from tokens.models import Token
from tokens.scopes import EVERYTHING

TABLE = [*KEYS, *CREATING, *ANYWHERE, *ALIASES, *PAGES_ALONE]


@pytest.fixture
def world(alice: User, mallory: User, other_org: Domain) -> World:
    Domain.objects.create(name="off.test")
    _token, secret = Token.objects.issue(owner=alice, name="tests", scopes=EVERYTHING)
    alias = issue(owner=alice)
    client = Client(raise_request_exception=False)
    return World(alice, mallory, client, secret, f"{alice.email}:{secret}", alias)


@pytest.mark.django_db
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_every_refusal_has_its_status_and_sentence_and_creates_nothing(world: World, row: Row) -> None:
    before = list(Alias.objects.exclude(deleted_at__isnull=False).values("pk", "note", "name", "enabled"))

    answer = row.ask(world)

    assert answer.status_code == row.status
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == {"error": row.sentence}
    assert ("WWW-Authenticate" in answer) == (row.status == 401)
    assert ("Retry-After" in answer) == (row.status in {429, 503})
    assert not answer.cookies
    if row.what != "a deleted alias":
        assert list(Alias.objects.values("pk", "note", "name", "enabled")) == before
