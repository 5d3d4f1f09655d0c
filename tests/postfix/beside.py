"""A Postfix with mailboxes of its own, beside which Anonmail comes and goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pytest_django import Settings

from tests.postfix.conftest import Site, run_site
from tests.postfix.sender import relayed
from tests.rig.mta import Ports, Postfix, Sink


@dataclass
class Beside:
    """The Postfix, its mailboxes, and Anonmail's doors, which open and close."""

    postfix: Postfix
    ports: Ports
    mailboxes: int
    settings: Settings
    theirs: Sink = field(default_factory=Sink)

    @contextmanager
    def open(self) -> Iterator[Site]:
        """Anonmail running."""
        yield from run_site(self.postfix, self.ports, self.settings)

    @property
    def closed(self) -> Site:
        """Postfix without Anonmail, and a far end that nobody listens at."""
        return Site(self.postfix, self.ports, Sink())

    def relays(self, domain: str) -> list[str]:
        """The recipients elsewhere for whom a stranger's mail is taken, or arrives, by way of this domain."""
        with self.open() as site:
            taken = relayed(self.ports.smtp, self.ports.reinjection, domain)
            site.postfix.wait_until_idle()
        return taken + [message.recipient for message in site.sink.arrived + self.theirs.arrived]
