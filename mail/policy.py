"""Postfix's policy service (SMTPD_POLICY_README): what a recipient is told, before any message is taken."""

import logging

from mail.line_doors import LineDoor, Malformed
from mail.recipients import verdict
from mail.resolve import Kind, needs_database

logger = logging.getLogger(__name__)

GO_ON = "DUNNO"
# A 4xx unless something else refuses for good (access(5)).
AWAY = "DEFER_IF_PERMIT 4.3.0 Cannot look this up now, try again later"


def action(attributes: dict[str, str], deadline: float | None = None) -> str:
    """What Postfix is to do with one recipient: an action of access(5).

    Only at RCPT, where each recipient is asked for once. Raises OperationalError while the database
    is away.
    """
    recipient = attributes.get("recipient", "")
    if attributes.get("protocol_state") != "RCPT" or not recipient:
        return GO_ON
    found = verdict(recipient, attributes.get("sender", ""), deadline)
    kind, is_shared = found.resolution.kind, found.resolution.is_shared
    if kind is Kind.NOT_OURS or (is_shared and kind in {Kind.UNKNOWN, Kind.ROLE}):
        # Others' mail, and the ordinary mailboxes beside aliases, are for Postfix's own maps to know.
        return GO_ON
    return found.refusal or GO_ON


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

    def split(self, received: bytearray) -> tuple[bytes, int] | None:
        end = received.find(b"\n\n")
        if end == 0 or received[:1] == b"\n":
            raise Malformed
        return (bytes(received[:end]), end + 2) if end > 0 else None

    def answer_now(self, question: bytes) -> bytes | None:
        attributes = attributes_of(question)
        return None if needs_database(attributes.get("recipient", "")) else _written(action(attributes))

    async def answer(self, question: bytes) -> bytes:
        try:
            return _written(await self.lookups.ask(action, attributes_of(question)))
        except Malformed:
            raise
        except Exception as error:
            logger.warning("policy not decided: %s", type(error).__name__)
            return _written(AWAY)


def _written(action: str) -> bytes:
    return f"action={action}\n\n".encode()
