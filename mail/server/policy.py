"""Postfix's policy service (SMTPD_POLICY_README): the answer for a recipient, before any message is taken."""

from mail.delivery.lookups import Lookups
from mail.delivery.resolve import needs_database, resolve
from mail.delivery.vouching import Client, voucher
from mail.server.limits import Connections, UnknownRecipientLimit
from mail.server.question_door import Malformed, QuestionDoor
from mail.server.recipients import answer_for, decide, limited_client_of

GO_ON = "DUNNO"
# A 4xx unless something else refuses for good (access(5)).
AWAY = "DEFER_IF_PERMIT 4.3.0 Cannot look this up now, try again later"


def asks_about_recipient(attributes: dict[str, str]) -> bool:
    """Whether there is something to decide: only at RCPT does Postfix ask once for each recipient."""
    return attributes.get("protocol_state") == "RCPT" and bool(attributes.get("recipient"))


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

    def __init__(self, lookups: Lookups, connections: Connections, limit: UnknownRecipientLimit) -> None:
        super().__init__(connections)
        self.lookups = lookups
        self.unknown_limit = limit

    def split(self, received: bytearray) -> tuple[bytes, int] | None:
        end = received.find(b"\n\n")
        if end == 0 or received[:1] == b"\n":
            raise Malformed
        return (bytes(received[:end]), end + 2) if end > 0 else None

    def answer_now(self, question: bytes) -> bytes | None:
        attributes = attributes_of(question)
        if not asks_about_recipient(attributes):
            return _written(GO_ON)
        recipient = attributes["recipient"]
        if needs_database(recipient):
            return None
        return _written(decide(resolve(recipient), attributes.get("sender", "")).refusal or GO_ON)

    async def answer(self, question: bytes) -> bytes:
        attributes = attributes_of(question)
        client = limited_client_of(attributes.get("client_address", ""), attributes.get("sasl_username", ""))
        recipient, sender = attributes["recipient"], attributes.get("sender", "")
        decision = await answer_for(recipient, sender, client, self.unknown_limit, self.lookups)
        if decision is None:
            return _written(AWAY)
        resolution = decision.resolution
        if decision.refusal is None and resolution is not None and resolution.asks_for_proof:
            name, text = voucher(str(resolution.address), _client_of(attributes))
            return _written(f"PREPEND {name}: {text}")
        return _written(decision.refusal or GO_ON)


def _client_of(attributes: dict[str, str]) -> Client:
    return Client(attributes.get("client_address", ""), attributes.get("sasl_username", ""))


def _written(action: str) -> bytes:
    return f"action={action}\n\n".encode()
