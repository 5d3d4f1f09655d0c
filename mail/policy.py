"""Postfix's policy service (SMTPD_POLICY_README): what a recipient is told, before any message is taken."""

import asyncio
import logging

from mail.line_doors import LineDoor, Malformed
from mail.recipients import verdict
from mail.resolve import Kind

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

    async def question(self, first: bytes, reader: asyncio.StreamReader) -> bytes:
        if first == b"\n":
            raise Malformed
        return first + (await reader.readuntil(b"\n\n"))[:-2]

    async def answer(self, question: bytes) -> bytes:
        attributes = attributes_of(question)
        try:
            said = await self.lookups.ask(action, attributes)
        except Exception as error:
            logger.warning("policy not decided: %s", type(error).__name__)
            said = AWAY
        return f"action={said}\n\n".encode()
