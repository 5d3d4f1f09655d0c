"""Postfix's policy service (SMTPD_POLICY_README): the answer for a recipient, before any message is taken."""

import logging
from typing import NamedTuple

from core.client_address import parse_ip
from mail.delivery.resolve import Kind, is_in_our_domains, needs_database
from mail.delivery.verdict import UNKNOWN, verdict
from mail.server.limits import Connections, UnknownRecipientLimit, limited_client
from mail.server.question_door import Malformed, QuestionDoor
from mail.server.threads import Threads

logger = logging.getLogger(__name__)

GO_ON = "DUNNO"
# Stands for a client whose address Postfix does not know.
UNNAMED = "unnamed"
# A 4xx unless something else refuses for good (access(5)).
AWAY = "DEFER_IF_PERMIT 4.3.0 Cannot look this up now, try again later"
# At once, without asking later checks: one that refuses unknown addresses for good would tell them apart.
TOO_MANY_UNKNOWN = "450 4.7.1 Too many unknown recipients, try again later"


class Decision(NamedTuple):
    """What Postfix should do: an action of access(5). `is_guess`: its client named an unknown address."""

    action: str
    is_guess: bool = False


def limited_client_of(attributes: dict[str, str]) -> str:
    """Postfix's client as it is limited: by its network, or by name if it has signed in; "" if it is not."""
    if name := attributes.get("sasl_username"):
        return f"{name}@sasl"
    client = attributes.get("client_address", "")
    return limited_client(client) if parse_ip(client) else UNNAMED


def decide(attributes: dict[str, str], is_over: bool = False, deadline: float | None = None) -> Decision:
    """What Postfix should do with one recipient. `is_over`: its client has named too many unknown recipients,
    and gets the same answer for each address of our domains. Raises OperationalError while the database is
    away."""
    # Postfix asks in other states too; only at RCPT does it ask once for each recipient.
    recipient = attributes.get("recipient", "")
    if attributes.get("protocol_state") != "RCPT" or not recipient:
        return Decision(GO_ON)
    if is_over:
        return Decision(TOO_MANY_UNKNOWN if is_in_our_domains(recipient) else GO_ON)
    found = verdict(recipient, attributes.get("sender", ""), deadline)
    kind, is_shared = found.resolution.kind, found.resolution.is_shared
    if kind is Kind.NOT_OURS or (is_shared and kind in {Kind.UNKNOWN, Kind.ROLE}):
        # Other domains, and ordinary mailboxes beside aliases, are for Postfix's own maps to know.
        return Decision(GO_ON, is_guess=kind is Kind.UNKNOWN)
    return Decision(found.refusal or GO_ON, is_guess=found.refusal == UNKNOWN)


def attributes_of(question: bytes) -> dict[str, str]:
    """The name=value lines of a request. Raises Malformed."""
    lines = question.decode("utf-8", "surrogateescape").split("\n")
    attributes = {name: value for name, _equals, value in (line.partition("=") for line in lines)}
    if not all("=" in line for line in lines) or attributes.get("request") != "smtpd_access_policy":
        raise Malformed
    return attributes


class PolicyDoor(QuestionDoor):
    """Answers `action=…` to each request; "try later" if the database does not answer in time."""

    name = "policy"

    def __init__(self, threads: Threads, connections: Connections, limit: UnknownRecipientLimit) -> None:
        super().__init__(threads, connections)
        self.unknown_limit = limit

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
        client = limited_client_of(attributes)
        is_over = self.unknown_limit.is_over(client)
        try:
            decision: Decision = await self.lookup_threads.look_up(decide, attributes, is_over)
        except Exception as error:
            logger.warning("policy not decided: %s", type(error).__name__)
            return _written(AWAY)
        if decision.is_guess:
            self.unknown_limit.count(client)
        return _written(decision.action)


def _written(action: str) -> bytes:
    return f"action={action}\n\n".encode()
