"""Postfix's policy service (SMTPD_POLICY_README): what a recipient is told, before any message is taken."""

import logging
from typing import NamedTuple

from core.client_address import parse_ip
from mail.delivery.resolve import Kind, is_at_ours, needs_database
from mail.delivery.verdict import UNKNOWN, verdict
from mail.server.clients import Connections, UnknownLimit, stranger
from mail.server.line_protocol import LineDoor, Malformed
from mail.threads import Pool

logger = logging.getLogger(__name__)

GO_ON = "DUNNO"
# The client of a mail server that does not say who it is.
UNNAMED = "unnamed"
# A 4xx unless something else refuses for good (access(5)).
AWAY = "DEFER_IF_PERMIT 4.3.0 Cannot look this up now, try again later"
# At once, whatever comes after us: a later check that refuses the unknown for good would tell them apart.
TOO_MANY_UNKNOWN = "450 4.7.1 Too many unknown recipients, try again later"


class Decision(NamedTuple):
    """What Postfix is to do: an action of access(5). `is_guess`: its client named what is not there."""

    action: str
    is_guess: bool = False


def guesser(attributes: dict[str, str]) -> str:
    """Who is limited: the client of Postfix by its network, or by name if it has signed in; "" for nobody."""
    if name := attributes.get("sasl_username"):
        return f"{name}@sasl"
    client = attributes.get("client_address", "")
    return stranger(client) if parse_ip(client) else UNNAMED


def decide(attributes: dict[str, str], has_guessed: bool = False, deadline: float | None = None) -> Decision:
    """What Postfix is to do with one recipient. Raises OperationalError while the database is away.

    `has_guessed`: its client has named too many unknown ones, and hears the same of each address of ours.
    """
    # Only at RCPT is each recipient asked for once.
    recipient = attributes.get("recipient", "")
    if attributes.get("protocol_state") != "RCPT" or not recipient:
        return Decision(GO_ON)
    if has_guessed:
        return Decision(TOO_MANY_UNKNOWN if is_at_ours(recipient) else GO_ON)
    found = verdict(recipient, attributes.get("sender", ""), deadline)
    kind, is_shared = found.resolution.kind, found.resolution.is_shared
    if kind is Kind.NOT_OURS or (is_shared and kind in {Kind.UNKNOWN, Kind.ROLE}):
        # Others' mail, and the ordinary mailboxes beside aliases, are for Postfix's own maps to know.
        return Decision(GO_ON, is_guess=kind is Kind.UNKNOWN)
    return Decision(found.refusal or GO_ON, is_guess=found.refusal == UNKNOWN)


def attributes_of(question: bytes) -> dict[str, str]:
    """The name=value lines of a request. Raises Malformed where it is none."""
    attributes = {}
    for line in question.decode("utf-8", "surrogateescape").split("\n"):
        name, equals, value = line.partition("=")
        if not equals:
            raise Malformed
        attributes[name] = value
    if attributes.get("request") != "smtpd_access_policy":
        raise Malformed
    return attributes


class PolicyDoor(LineDoor):
    """Answers `action=…` for each request; "try later" where the database does not answer in time."""

    name = "policy"

    def __init__(self, lookups: Pool, connections: Connections, unknown: UnknownLimit) -> None:
        super().__init__(lookups, connections)
        self.unknown = unknown

    def split(self, received: bytearray) -> tuple[bytes, int] | None:
        end = received.find(b"\n\n")
        if end == 0 or received[:1] == b"\n":
            raise Malformed
        return (bytes(received[:end]), end + 2) if end > 0 else None

    def answer_now(self, question: bytes) -> bytes | None:
        attributes = attributes_of(question)
        if needs_database(attributes.get("recipient", "")):
            return None
        return _written(decide(attributes).action)

    async def answer(self, question: bytes) -> bytes:
        attributes = attributes_of(question)
        client = guesser(attributes)
        try:
            decision: Decision = await self.lookups.ask(decide, attributes, self.unknown.is_over(client))
        except Exception as error:
            logger.warning("policy not decided: %s", type(error).__name__)
            return _written(AWAY)
        if decision.is_guess:
            self.unknown.count(client)
        return _written(decision.action)


def _written(action: str) -> bytes:
    return f"action={action}\n\n".encode()
