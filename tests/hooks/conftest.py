"""Alice's hook, and the server to which it leads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import User
from tests.rig.hooking import Made, make
from tests.rig.nameserver import Nameserver, nameserver
from tests.rig.receiver import HOST, Receiver, receiving


@pytest.fixture
def names(settings: Settings) -> Iterator[Nameserver]:
    with nameserver({HOST: ["A 127.0.0.1"]}) as server:
        settings.DNS_RESOLVERS = [f"127.0.0.1:{server.port}"]
        yield server


@pytest.fixture
def receiver(settings: Settings, tmp_path: Path, names: Nameserver) -> Iterator[Receiver]:
    """It is on this machine, which is a private network."""
    settings.WEBHOOK_PRIVATE_NETWORKS = True
    with receiving(tmp_path) as running:
        settings.WEBHOOK_CA = running.authorities
        yield running


@pytest.fixture
def made(alice: User, receiver: Receiver) -> Made:
    """Alice's hook, which is told of everything."""
    return make(alice, receiver.url)
