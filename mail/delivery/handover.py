"""A message as it was handed over to us, and our answer for it."""

import hashlib
from dataclasses import dataclass
from enum import Enum

from django.utils.functional import cached_property

from mail.delivery.cleaning import Draft
from mail.delivery.message import Fields, author, header_fields, without_first_received
from mail.delivery.verdict import UNKNOWN

# Octets of a message that is read aside, so that others need not wait for it.
LARGE = 64 * 1024


class Answer(Enum):
    """Our answer to the sender for one recipient, never the next hop's own words."""

    DONE = "250 2.0.0 Accepted"
    LATER = "451 4.4.1 Cannot deliver now, try again later"
    PAUSED = "450 4.2.1 Mailbox disabled, try again later"
    REFUSED = "550 5.7.1 Message refused"
    LOOP = "554 5.4.6 Routing loop detected"
    # To somebody whom the owner has blocked, or does not know.
    UNKNOWN = UNKNOWN


@dataclass(frozen=True)
class Said:
    """An answer of which only the sender's own mistake, or our limit, is the reason: with a sentence."""

    value: str


@dataclass(frozen=True)
class Head:
    """What is known of a message without its body.

    `fields`: the header, as mail.delivery.message.header_fields reads it.
    """

    sender: str  # the envelope's; "" for the null sender
    fields: Fields
    client: str  # who handed it over, as the trace field says it
    protocol: str

    @cached_property
    def author(self) -> str:
        """Who wrote the message, as the owner sees it."""
        return author(self.fields, self.sender)


@dataclass(frozen=True)
class Message:
    """A message as it was handed over.

    `is_queued`: who hands it over keeps these very octets until we answer for them (LMTP). Otherwise
    a relay in front may write its Received field anew with each try. `peer`: the IP address of the client
    that brought it, if that is not a mail server of ours.
    """

    sender: str  # as that of its head, like the next two
    content: bytes
    client: str
    protocol: str
    utf8: bool = False
    is_queued: bool = False
    peer: str = ""

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits that identify the message when it is handed over again."""
        digest = hashlib.sha256(self.sender.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(self.content if self.is_queued else without_first_received(self.content))
        return digest.hexdigest()

    @cached_property
    def head(self) -> Head:
        return Head(self.sender, list(header_fields(self.content)), self.client, self.protocol)

    @cached_property
    def draft(self) -> Draft:
        """The message as its author made it, read once for all of its recipients."""
        return Draft(self.content)

    def read(self) -> tuple[str, Head]:
        """All that is to be known of it, which is kept."""
        return self.digest, self.head
