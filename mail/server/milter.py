"""The milter door: Postfix asks about each recipient, and at the end of a message what to change in it.

A message to one alias with one destination goes on by itself, under a new envelope: Postfix queues it
once. All else goes on unchanged, and comes back through the LMTP door.
"""

import logging
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from django.conf import settings

from core.sparing_logs import warn_sparingly
from mail.delivery.forward import Forwarder
from mail.delivery.handover import Answer, Head
from mail.delivery.message import HEADER_MAX
from mail.delivery.resolve import Kind, Resolution, needs_database, resolve
from mail.delivery.verdict import AWAY
from mail.delivery.vouching import Client, voucher
from mail.server import milter_protocol as protocol
from mail.server.limits import Connections, UnknownRecipientLimit, client_address
from mail.server.milter_protocol import Action, Command, Stage, Step
from mail.server.question_door import Malformed, QuestionDoor
from mail.server.recipients import Decision, answer_for, decide, limited_client_of

logger = logging.getLogger(__name__)

ACTIONS = Action.ADD_HEADERS | Action.ADD_RECIPIENTS | Action.DELETE_RECIPIENTS | Action.CHANGE_SENDER
ACTIONS |= Action.SET_MACROS
NOT_SENT = Step.NO_HELO | Step.NO_DATA | Step.NO_UNKNOWN | Step.NO_END_OF_HEADER | Step.NO_BODY
NOT_ANSWERED = Step.NO_REPLY_TO_CONNECT | Step.NO_REPLY_TO_MAIL | Step.NO_REPLY_TO_HEADER
# The rest of Postfix's macros would be sent with each message, and read by nobody.
MACROS: dict[Stage, tuple[str, ...]] = dict.fromkeys(Stage, ())
MACROS |= {Stage.MAIL: ("{auth_authen}",), Stage.RCPT: ("{rcpt_addr}",)}
# Octets of a recipient that a refusal repeats: a reply has at most 512 (RFC 5321 §4.5.3.1.5).
REPEATED_MAX = 300
_FOLD = re.compile(r"\r?\n")


class _Asked(NamedTuple):
    """A recipient: as the client wrote it, and the address as Postfix understands it."""

    written: str
    address: str


@dataclass
class _Transaction:
    """What is known of the message that a client of Postfix's sends."""

    sender: str
    user: str = ""
    # Each recipient that was not refused: as it was written, and what it is.
    recipients: list[tuple[str, Resolution | None]] = field(default_factory=list)
    fields: list[tuple[str, str]] = field(default_factory=list)
    header_octets: int = 0

    def add_field(self, name: str, text: str) -> None:
        self.header_octets += len(name) + len(text) + len(": \r\n")
        if self.header_octets <= HEADER_MAX:
            # Unfolded, as mail.delivery.message.header_fields reads it.
            unfolded = _FOLD.sub("", text) if "\n" in text else text
            self.fields.append((name.lower(), unfolded.strip()))

    @property
    def only_alias(self) -> tuple[str, Resolution] | None:
        """The message's recipient and its alias, if it has no other one."""
        if len(self.recipients) != 1:
            return None
        recipient, resolution = self.recipients[0]
        if resolution is None or resolution.kind is not Kind.FORWARD or resolution.alias_id is None:
            return None
        if resolution.asks_for_proof:
            # Only the whole message can prove who has written it.
            return None
        return recipient, resolution


class MilterDoor(QuestionDoor):
    """One connection, which is one of Postfix's clients' sessions: it brings any number of messages."""

    name = "milter"
    question_max = 4 + protocol.PACKET_MAX

    def __init__(
        self,
        forwarder: Forwarder,
        connections: Connections,
        limit: UnknownRecipientLimit,
    ) -> None:
        super().__init__(connections)
        self.forwarder = forwarder
        self.unknown_limit = limit
        self._client = ""
        # The macros of the command that comes next.
        self._macros: dict[str, str] = {}
        self._transaction: _Transaction | None = None

    @property
    def idle_timeout(self) -> float:
        """Nothing is asked while a message arrives, for as long as a message may take."""
        slowest = settings.MAIL_PATIENCE + settings.MAIL_SIZE_LIMIT / settings.MAIL_LEAST_RATE
        return max(super().idle_timeout, slowest)

    def split(self, received: bytearray) -> tuple[bytes, int] | None:
        return protocol.split(received)

    async def answer(self, question: bytes) -> bytes:
        transaction = self._transaction
        if transaction is None:
            raise Malformed
        if question[:1] == Command.RCPT:
            return await self._answer_recipient(transaction, self._asked_about(question[1:]))
        return await self._answer_end_of_message(transaction)

    def answer_now(self, question: bytes) -> bytes | None:
        """The answer to a command, b"" for one that gets none; None if it needs the database."""
        data = question[1:]
        match question[:1]:
            case Command.NEGOTIATE:
                return self._negotiate(data)
            case Command.CONNECT:
                self._client = protocol.read_client(data)
            case Command.MACRO:
                self._macros = protocol.read_macros(data)
            case Command.MAIL:
                sender = _bare(protocol.read_path(data))
                self._transaction = _Transaction(sender, self._macros.get("{auth_authen}", ""))
            case Command.RCPT if self._transaction:
                asked = self._asked_about(data)
                if needs_database(asked.address):
                    return None
                decision = decide(resolve(asked.address), self._transaction.sender)
                return self._said(self._transaction, asked, decision)
            case Command.HEADER if self._transaction:
                self._transaction.add_field(*protocol.read_field(data))
            case Command.END_OF_MESSAGE if self._transaction:
                return None if self._transaction.only_alias else self._vouched(self._transaction)
            case Command.ABORT:
                self._transaction = None
            case Command.QUIT_NEW_CONNECTION:
                self._client, self._transaction = "", None
            case Command.QUIT:
                self.end_soon()
            case _:
                raise Malformed
        return b""

    def _negotiate(self, data: bytes) -> bytes:
        offered = protocol.read_negotiation(data)
        steps = NOT_SENT | NOT_ANSWERED
        lacks_some = (offered.actions & ACTIONS) != ACTIONS or (offered.steps & steps) != steps
        if offered.version < protocol.VERSION or lacks_some:
            logger.error("milter door: the mail server speaks an older protocol")
            raise Malformed
        return protocol.negotiation(ACTIONS, steps, MACROS)

    def _asked_about(self, data: bytes) -> _Asked:
        written = protocol.read_path(data)
        return _Asked(written, self._macros.get("{rcpt_addr}") or _bare(written))

    async def _answer_recipient(self, transaction: _Transaction, asked: _Asked) -> bytes:
        client = limited_client_of(self._client, transaction.user)
        decision = await answer_for(
            asked.address, transaction.sender, client, self.unknown_limit, self.forwarder.lookups
        )
        return self._said(transaction, asked, decision or Decision(AWAY))

    def _said(self, transaction: _Transaction, asked: _Asked, decision: Decision) -> bytes:
        # Another recipient is not judged by this one's.
        self._macros = {}
        if decision.refusal:
            return protocol.reply(_in_postfixs_form(decision.refusal, _bare(asked.written)))
        # Postfix finds a recipient again only if it is written as Postfix itself writes it.
        is_plain = asked.written == f"<{asked.address}>" and asked.address.isascii()
        # These stay where they are; without our field, an older one in the message would count.
        is_known = is_plain or (decision.resolution is not None and decision.resolution.asks_for_proof)
        transaction.recipients.append((asked.address, decision.resolution if is_known else None))
        return protocol.CONTINUE

    def _vouched(self, transaction: _Transaction) -> bytes:
        """Who sends the message, for each recipient that asks for a proof; it comes again over LMTP."""
        client = Client(self._client, transaction.user)
        fields = [
            voucher(str(resolution.address), client)
            for _recipient, resolution in transaction.recipients
            if resolution is not None and resolution.asks_for_proof
        ]
        return b"".join(protocol.insert_header(0, *each) for each in fields) + protocol.CONTINUE

    async def _answer_end_of_message(self, transaction: _Transaction) -> bytes:
        if transaction.only_alias is None:
            raise Malformed
        recipient, alias = transaction.only_alias
        peer = client_address(self.transport.get_extra_info("peername"))
        client = f"{settings.MAIL_HOSTNAME} ([{peer}])"
        head = Head(transaction.sender, transaction.fields, client, "MILTER")
        try:
            found = await self.forwarder.redirect(head, alias, alias.alias_id or 0)
        except Exception as error:
            warn_sparingly(logger, "message not forwarded: %s", type(error).__name__)
            return protocol.reply(Answer.LATER.value)
        if isinstance(found, Answer):
            return protocol.reply(_in_postfixs_form(found.value, recipient))
        if found is None:
            return protocol.CONTINUE
        changes = [protocol.delete_recipient(recipient), protocol.add_recipient(found.recipient)]
        if found.sender:
            changes.append(protocol.change_sender(found.sender))
        # Each one goes above those before it.
        changes += [protocol.insert_header(0, name, text) for name, text in reversed(found.fields)]
        return b"".join(changes) + protocol.CONTINUE


def _bare(path: str) -> str:
    """The address in a Path (RFC 5321 §4.1.2)."""
    return path.strip().removeprefix("<").removesuffix(">").strip()


def _in_postfixs_form(refusal: str, recipient: str) -> str:
    """The reply as Postfix itself words the refusal of a recipient, so that nobody can tell which of us it
    comes from."""
    code, status, words = refusal.split(" ", 2)
    printable = "".join(each if each.isprintable() else "?" for each in recipient)
    shown = printable.encode()[:REPEATED_MAX].decode(errors="ignore")
    return f"{code} {status} <{shown}>: Recipient address rejected: {words}"
