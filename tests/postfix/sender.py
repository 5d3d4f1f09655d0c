"""A stranger who sends mail to aliases, and keeps every octet that is answered."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from allauth.account.models import EmailAddress

from accounts.models import User
from aliases import issuing
from aliases.models import Alias
from mail.delivery.blocks import blocks
from mail.delivery.resolve import ROUTE
from tests.postfix.conftest import Site
from tests.rig.mta import Arrived

EVE = "eve@sender.test"
MESSAGE = b"From: Eve <eve@sender.test>\r\nTo: you\r\nSubject: Hi\r\n\r\nHello\r\n"

ACCEPTED = "250 2.0.0"


def unknown(recipient: str) -> str:
    """What is said of an address that takes no mail, whatever the reason."""
    return f"550 5.1.1 <{recipient}>: Recipient address rejected: User unknown"


@dataclass
class Told:
    """What the sender was told: of each recipient, and after the data of each transaction."""

    recipients: dict[str, str] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)

    @property
    def codes(self) -> list[str]:
        """The first word of each answer to a recipient."""
        return [answer[:3] for answer in self.recipients.values()]


class Sender:
    """One connection, and every octet that is heard over it."""

    def __init__(self, port: int, name: bytes = b"sender.test") -> None:
        self.heard = bytearray()
        self.connection = socket.create_connection(("127.0.0.1", port), 60)
        self.stream = self.connection.makefile("rb")
        self.reply()
        self.greeting = self.say(b"EHLO " + name)

    def from_elsewhere(self, name: bytes) -> None:
        """From now on as a client at 192.0.2.1, for which nothing is relayed."""
        assert self.say(b"XCLIENT ADDR=192.0.2.1 NAME=[UNAVAILABLE]").startswith("220")
        del self.heard[:]
        self.greeting = self.say(b"EHLO " + name)

    def close(self) -> None:
        self.stream.close()
        self.connection.close()

    def say(self, line: bytes) -> str:
        """Send a command and return the answer to it, "" where the other side has hung up."""
        try:
            self.connection.sendall(line + b"\r\n")
            return self.reply()
        except (BrokenPipeError, ConnectionResetError):
            return ""

    def reply(self) -> str:
        """The next answer."""
        lines = []
        while line := self.stream.readline():
            self.heard += line
            lines.append(line.decode("utf-8", "replace").rstrip())
            if line[3:4] != b"-":
                break
        return "\n".join(lines)

    def send(self, *recipients: str, content: bytes = MESSAGE, sender: str = EVE, options: str = "") -> Told:
        """Send one message; to DATA only where a recipient was accepted."""
        told = Told()
        answer = self.say(f"MAIL FROM:<{sender}>{options and ' ' + options}".encode())
        assert answer.startswith("250"), answer
        for recipient in recipients:
            told.recipients[recipient] = self.say(f"RCPT TO:<{recipient}>".encode())
        if "250" not in told.codes:
            self.say(b"RSET")
            return told
        told.data.append(self.data(content))
        return told

    def data(self, content: bytes) -> str:
        """DATA (RFC 5321 §4.1.1.4), and what is answered at its end."""
        stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
        return self.octets(stuffed + b".\r\n")

    def octets(self, octets: bytes) -> str:
        """DATA, these very octets, and the next answer."""
        assert self.say(b"DATA").startswith("354")
        self.connection.sendall(octets)
        return self.reply()


def relayed(smtp: int, reinjection: int, domain: str) -> list[str]:
    """Which recipients elsewhere a Postfix with mailboxes in the domain takes from a stranger: at its public
    port, in all the forms that have fooled one, and at the port for what we hand back."""
    foreign = [
        "x@elsewhere.test",
        f"x%elsewhere.test@{domain}",
        f"@{domain}:x@elsewhere.test",
        f'"x@elsewhere.test"@{domain}',
        f"elsewhere.test!x@{domain}",
        f"x@elsewhere.test@{domain}",
        f"x@{domain}{ROUTE}",
        f"x@elsewhere.test{ROUTE}",
    ]
    taken = []
    for port in (smtp, reinjection):
        for recipient in foreign:
            # Each over a connection of its own: there are limits for a client's errors.
            sender = Sender(port)
            try:
                sender.from_elsewhere(b"sender.test")
                taken += [
                    each
                    for each, answer in sender.send(recipient).recipients.items()
                    if answer.startswith("2")
                ]
            finally:
                sender.close()
    return taken


@contextmanager
def stranger(site: Site, name: bytes = b"sender.test") -> Iterator[Sender]:
    """A connection of a stranger's."""
    sender = Sender(site.ports.smtp)
    try:
        sender.from_elsewhere(name)
        yield sender
    finally:
        sender.close()


def send(
    site: Site, *recipients: str, content: bytes = MESSAGE, sender: str = EVE, options: str = ""
) -> Told:
    """Send one message over a connection of its own."""
    with stranger(site) as other:
        return other.send(*recipients, content=content, sender=sender, options=options)


def settled(site: Site, number: int) -> list[Arrived]:
    """The messages at the far end, once nothing waits any more: so many, and no other."""
    site.sink.wait_for(number)
    site.postfix.wait_until_idle()
    assert [message.recipient for message in site.sink.arrived[number:]] == []
    return list(site.sink.arrived)


def issue(owner: User, *destinations: str) -> Alias:
    """An alias of the owner's to these destinations, none of them at example.com, which is ours alone."""
    wanted = destinations or (f"{owner.email.partition('@')[0]}@home.test",)
    for email in wanted:
        EmailAddress.objects.get_or_create(user=owner, email=email, defaults={"verified": True})
    return issuing.issue(owner=owner, destinations=list(wanted))


def figures(alias: Alias) -> tuple[int, int]:
    """The alias's forwards and blocks."""
    blocks.write()
    return Alias.objects.values_list("forwards", "blocks").get(pk=alias.pk)
