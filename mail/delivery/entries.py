"""What is to be recorded about messages, and what one transaction records together."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from mail.delivery.bounce import Returned
from mail.delivery.database import refuse_late
from mail.delivery.gatherer import ANSWER_TIMEOUT
from mail.delivery.senders import Pair, Sender
from mail.delivery.settled import Ended

# Stands for an alias and a destination if there are none: for postmaster@ and abuse@, and bounces.
NO_ALIAS = 0


@dataclass(frozen=True)
class Begun:
    """Copies of a message that are about to be sent."""

    alias_id: int
    digest: str
    destination_ids: tuple[int, ...]
    stale: tuple[int, ...] = ()  # keys of deliveries that were begun before, with an unknown outcome
    deadline: float = field(default_factory=lambda: time.monotonic() + ANSWER_TIMEOUT)


@dataclass(frozen=True)
class Settled:
    """One copy that the next hop has taken, or refused for good with this status (RFC 3463)."""

    alias_id: int
    destination_id: int
    digest: str
    status: str  # "" if it was accepted
    sender: str
    reason: str = ""  # why it was refused, in one line
    contact_id: int | None = None
    contact_name: str = ""  # as the author's own From has it, to be noted if the contact has none
    caution: str = ""  # mail.models.Caution
    heard: Sender | None = None  # if the alias was made for another website
    rule_ids: tuple[int, ...] = ()  # its owner's rules that were applied to the message

    @property
    def is_accepted(self) -> bool:
        return not self.status


@dataclass(frozen=True)
class Replied(Settled):
    """A reply that the next hop has taken, or refused for good. Its delivery has no alias: the digest says
    which contact it was for."""

    from_alias: int = 0
    contact_id: int = 0


@dataclass(frozen=True)
class Released:
    """Copies that were begun, and that the next hop has not taken."""

    alias_id: int
    digest: str
    destination_ids: tuple[int, ...]


@dataclass(frozen=True)
class Forgotten:
    """A message that need not be recognised any more."""

    alias_id: int
    digest: str


@dataclass(frozen=True)
class Redirected:
    """A message that the mail server in front sends on by itself: it counts as forwarded, unless that could
    not be written by the deadline (of time.monotonic())."""

    alias_id: int
    destination_id: int
    sender: str
    deadline: float
    contact_id: int | None = None
    heard: Sender | None = None
    is_accepted: ClassVar[bool] = True


@dataclass(frozen=True)
class Disabled:
    """An alias that a rule of its owner's disables; `sender`: of the message, if that goes on all the same,
    so that its sender is answered in the same way if it comes again."""

    alias_id: int
    sender: str = ""


@dataclass(frozen=True)
class Fault:
    """A fault of this site (mail.delivery.faults)."""

    what: str


@dataclass(frozen=True)
class Alive:
    """A mail process that serves, or one that stops (core.heartbeats)."""

    name: str
    is_stopping: bool = False


@dataclass(frozen=True)
class Retry:
    """Nothing new: what could not be written before is tried again."""


RETRY = Retry()
Entry = Begun | Settled | Released | Forgotten | Redirected | Disabled | Returned | Fault | Alive | Retry


class Batch:
    """The entries of one transaction by what is done with them; each is looked at once."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.begun: list[Begun] = []
        # What has gone to an alias's destination, or was refused there.
        self.forwards: list[Settled | Redirected] = []
        self.settled: list[Settled] = []
        self.replied: list[Replied] = []
        self.released: list[Released] = []
        self.forgotten: list[Forgotten] = []
        self.without_alias: list[Settled | Released | Forgotten] = []
        self.disabled: set[Ended] = set()
        self.returned: list[Returned] = []
        self.faults: list[Fault] = []
        self.alive: list[Alive] = []
        for entry in entries:
            match entry:
                case Begun():
                    self.begun.append(entry)
                case Replied():
                    self.replied.append(entry)
                    self.without_alias.append(entry)
                case Settled() | Released() | Forgotten() if not entry.alias_id:
                    self.without_alias.append(entry)
                case Settled():
                    self.settled.append(entry)
                    self.forwards.append(entry)
                case Redirected():
                    self.forwards.append(entry)
                case Released():
                    self.released.append(entry)
                case Forgotten():
                    self.forgotten.append(entry)
                case Disabled():
                    self.disabled.add(Ended(entry.alias_id, entry.sender))
                case Returned():
                    self.returned.append(entry)
                case Fault():
                    self.faults.append(entry)
                case Alive():
                    self.alive.append(entry)

    @property
    def contacts(self) -> set[int]:
        """Those whom the messages came from or went to."""
        found = {entry.contact_id for entry in self.forwards} | {entry.contact_id for entry in self.replied}
        return {key for key in found if key is not None}

    @property
    def heard(self) -> dict[Pair, bool]:
        """Who has written to aliases that were made for other websites, and whether that is proven."""
        return {
            (entry.alias_id, entry.heard.domain): entry.heard.is_proven
            for entry in self.forwards
            if entry.heard
        }

    @property
    def rules(self) -> Counter[int]:
        """How many messages each rule was applied to."""
        return Counter(key for entry in self.settled for key in entry.rule_ids)

    def refuse_late(self) -> None:
        for begun in self.begun:
            refuse_late(begun.deadline)
        for entry in self.forwards:
            if isinstance(entry, Redirected):
                refuse_late(entry.deadline)
