"""A DNS of the test's own."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.rig.nameserver import Nameserver, nameserver


@pytest.fixture
def dns(settings: Settings) -> Iterator[Nameserver]:
    """Where the server is mx.example.com, and nothing is said about the domain example.com."""
    settings.MAIL_HOSTNAME = "MX.example.com"
    with nameserver({"mx.example.com": ["A 192.0.2.25", "AAAA 2001:db8::25"], "example.com": []}) as server:
        settings.DNS_RESOLVERS = [f"127.0.0.1:{server.port}"]
        yield server
