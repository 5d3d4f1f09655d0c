"""Alice's alias with a contact, Bob, and doors over a next hop that remembers."""

import smtplib
from collections.abc import Callable, Iterator

import pytest
from allauth.account.models import EmailAddress
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from contacts.models import Contact
from tests.rig.correspondents import contacts_for
from tests.rig.mail_doors import Hop, running_doors
from tests.rig.nameserver import Nameserver, nameserver
from tests.rig.replying import BOB, DOMAIN, OWN, SPF, Answer, Lmtp, deliver

Send = Callable[..., Answer]


@pytest.fixture
def hop() -> Hop:
    return Hop()


@pytest.fixture
def dns(settings: Settings) -> Iterator[Nameserver]:
    """home.test lets this machine send."""
    with nameserver({DOMAIN: [SPF]}) as server:
        settings.DNS_RESOLVERS = [f"127.0.0.1:{server.port}"]
        yield server


@pytest.fixture
def alias(alice: User) -> Alias:
    EmailAddress.objects.create(user=alice, email=OWN, verified=True)
    return issue(owner=alice, destinations=[OWN])


@pytest.fixture
def bob(alias: Alias) -> Contact:
    contacts_for(alias.pk, [(BOB, "Bob")])
    return Contact.objects.get(alias=alias, address=BOB)


@pytest.fixture
def doors(hop: Hop, dns: Nameserver, settings: Settings) -> Iterator[dict[str, tuple[str, int]]]:
    settings.MAIL_HOSTNAME = "mx.example.com"
    with running_doors(hop, "smtp", "lmtp") as places:
        yield places


@pytest.fixture
def send(doors: dict[str, tuple[str, int]]) -> Send:
    def send_it(recipient: str, content: bytes, sender: str = OWN, door: str = "smtp") -> Answer:
        return deliver(doors[door], {"smtp": smtplib.SMTP, "lmtp": Lmtp}[door], recipient, content, sender)

    return send_it
