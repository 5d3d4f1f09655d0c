"""Alice's alias, her token that sends, a next hop that remembers, and doors in front of it."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from tests.rig.mail_doors import Hop, running_doors
from tests.rig.mail_peers import DOORS, TIMEOUT, Places
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


@pytest.fixture
def open_doors(hop: Hop, settings: Settings) -> Iterator[Callable[..., Places]]:
    """Opens all four doors, with the settings that it is given."""
    settings.MAIL_POSTMASTER = "boss@boss.test"
    settings.MAIL_HOSTNAME = "mx.example.com"
    with ExitStack() as stack:

        def opened(
            other_hop: Hop | None = None, tls: ssl.SSLContext | None = None, **options: object
        ) -> Places:
            for name, value in options.items():
                setattr(settings, name, value)
            return stack.enter_context(running_doors(other_hop or hop, *DOORS, tls=tls))

        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Time limits of a fraction of a second."""
    settings.MAIL_PATIENCE = TIMEOUT
    monkeypatch.setattr("mail.server.smtp.COMMAND_TIMEOUT", TIMEOUT)
    for name in ("QUESTION_TIMEOUT", "IDLE_TIMEOUT"):
        monkeypatch.setattr(f"mail.server.question_door.{name}", TIMEOUT)
