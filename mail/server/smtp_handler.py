"""What the SMTP door answers: which recipients it takes, and what becomes of a message."""

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Protocol, TypeVar, cast

from aiosmtpd.smtp import Envelope, Session
from django.conf import settings

from core.sparing_logs import warn_sparingly
from mail.delivery.entries import Forgotten
from mail.delivery.forward import Forwarder, recognised_by
from mail.delivery.handover import Answer, Message, Said
from mail.delivery.on_the_fly import made
from mail.delivery.resolve import Kind, Resolution
from mail.delivery.screening import recipient, with_whole_message
from mail.delivery.verdict import AWAY, GUESSED, Verdict, verdict
from mail.server import limits

logger = logging.getLogger(__name__)

Hook = TypeVar("Hook", bound=Callable[..., Any])

ACCEPTED = "250 2.1.5 OK"
TOO_MANY_UNKNOWN = "421 4.7.0 Too many unknown recipients, try again later"
TOO_MANY_RECIPIENTS = "452 4.5.3 Too many recipients, please send the others again"
ONE_AT_A_TIME = "452 4.5.3 One recipient at a time, please send the others again"

RECIPIENTS_MAX = 100
# Refused recipients of one connection: unknown ones, and those of domains that we do not relay to.
REFUSED_MAX = 10
# Seconds that a message waits until an earlier one is forgotten, which a sender that does not read holds up.
FORGET_TIMEOUT = 3.0


@cache
def method_names(kind: Any, prefixes: tuple[str, ...]) -> list[str]:
    """The methods that aiosmtpd looks for. It reads all names of handler and door for each connection, which
    would take a tenth of a short one's time."""
    return [name for name in dir(kind) if name.startswith(prefixes)]


def with_signature(hook: Hook) -> Hook:
    """The hook, with its signature kept: aiosmtpd asks `inspect` for it at each connection."""
    cast(Any, hook).__signature__ = inspect.signature(hook)
    return hook


class SmtpSession(Session):
    """One connection, and how many of its recipients were refused."""

    refused_recipients = 0

    @cached_property
    def client(self) -> str:
        return limits.client_address(self.peer)

    @cached_property
    def _network(self) -> str:
        return limits.limited_client(self.client)

    @property
    def limited_client(self) -> str:
        return self._network


class SmtpEnvelope(Envelope):
    """One transaction, and what its accepted recipients are, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.resolutions: list[Resolution] = []

    @property
    def sender(self) -> str:
        """The sender; "" for the null sender, which aiosmtpd keeps as it was written."""
        return "" if self.mail_from == "<>" else self.mail_from or ""


class Connection(Protocol):
    """What the handler needs of the connection on which it is asked."""

    # The message that the next answer is about, to be forgotten once the sender has read that.
    answered: tuple[Message, Resolution] | None

    def end_after_answer(self) -> None:
        """Hang up after the answer that is about to be written."""


@dataclass(eq=False)
class SmtpHandler:
    """What aiosmtpd asks: one for all connections of the door."""

    forwarder: Forwarder
    unknown_limit: limits.UnknownRecipientLimit

    protocols = ("ESMTP", "ESMTPS")
    refused_max = REFUSED_MAX
    recipients_max = RECIPIENTS_MAX
    is_queued = False
    # One answer follows DATA: recipients that could need different ones come one at a time.
    has_one_answer = True

    def __post_init__(self) -> None:
        self.memory = limits.MessageMemory()
        self.turns = limits.ForwardingTurns(settings.MAIL_MESSAGES_AT_ONCE)
        self._forgetting: dict[asyncio.Future[None], int | None] = {}

    def __dir__(self) -> list[str]:
        return method_names(cast(Any, type(self)), ("handle_",))

    @with_signature
    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: Connection, session: SmtpSession, envelope: SmtpEnvelope, name: str, offered: list[str]
    ) -> list[str]:
        """What we offer: aiosmtpd's list, and PIPELINING (RFC 2920), which it understands."""
        session.host_name = name
        # Over TLS, aiosmtpd offers AUTH without a mechanism.
        offered = [line for line in offered if not line.startswith("250-AUTH")]
        return [*offered[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", offered[-1]]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Connection, session: SmtpSession, envelope: SmtpEnvelope, address: str, options: object
    ) -> str:
        """The answer for one recipient, which is the same for a blocked alias and an unknown address."""
        if len(envelope.rcpt_tos) >= self.recipients_max:
            return TOO_MANY_RECIPIENTS
        client = session.limited_client
        if self.unknown_limit.is_over(client):
            server.end_after_answer()
            return TOO_MANY_UNKNOWN
        try:
            lookups = self.forwarder.lookups
            resolution = await recipient(lookups, address, envelope.sender)
            found = self.judge(await with_whole_message(lookups, resolution, envelope.sender), envelope)
        except Exception as error:
            warn_sparingly(logger, "recipient not resolved: %s", type(error).__name__)
            return AWAY
        if found.refusal:
            if found.refusal in GUESSED:
                self.unknown_limit.count(client)
            session.refused_recipients += 1
            if session.refused_recipients >= self.refused_max:
                server.end_after_answer()
                return TOO_MANY_UNKNOWN
            return found.refusal
        if self.has_one_answer and envelope.resolutions and envelope.resolutions[0] != found.resolution:
            return ONE_AT_A_TIME
        envelope.resolutions.append(found.resolution)
        envelope.rcpt_tos.append(address)
        return ACCEPTED

    def judge(self, resolution: Resolution, envelope: SmtpEnvelope) -> Verdict:
        """The verdict on a recipient."""
        return verdict(resolution, envelope.sender)

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: Connection, session: SmtpSession, envelope: SmtpEnvelope
    ) -> str:
        """Forward, and answer when the next hop has answered."""
        message = self.message(session, envelope)
        resolution = await self.made(envelope.resolutions[0], message)
        await self.wait_until_forgotten(resolution.alias_id)
        answer = await self.take(resolution, message)
        is_remembered = resolution.kind in (Kind.FORWARD, Kind.ENDED, Kind.ROLE)
        if is_remembered and answer in (Answer.DONE, Answer.REFUSED):
            # Once the sender has read it, the same octets may come again as another message.
            server.answered = (message, resolution)
        return answer.value

    def message(self, session: SmtpSession, envelope: SmtpEnvelope) -> Message:
        """The message as it was handed over."""
        return Message(
            sender=envelope.sender,
            content=envelope.original_content or b"",
            client=f"{session.host_name or 'unknown'} ([{session.client}])",
            protocol=self.protocols[bool(session.ssl)],
            utf8=bool(envelope.smtp_utf8),
            is_queued=self.is_queued,
            peer="" if self.is_queued else session.client,
        )

    async def made(self, resolution: Resolution, message: Message) -> Resolution:
        """What the recipient is now that the message has come."""
        try:
            return await made(self.forwarder.lookups, message, resolution)
        except Exception as error:
            warn_sparingly(logger, "alias not made: %s", type(error).__name__)
            return resolution

    async def take(self, resolution: Resolution, message: Message) -> Answer | Said:
        """What became of the message for this recipient."""
        try:
            return await self.forwarder.take(message, resolution)
        except Exception as error:
            warn_sparingly(logger, "message not forwarded: %s", type(error).__name__)
            return Answer.LATER

    def expect_to_forget(self, resolution: Resolution) -> asyncio.Future[None]:
        """A future to be done once a message to this recipient is forgotten, or is not going to be."""
        forgotten: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._forgetting[forgotten] = resolution.alias_id
        forgotten.add_done_callback(self._forgetting.pop)
        return forgotten

    def forget(self, message: Message, resolution: Resolution, forgotten: asyncio.Future[None]) -> None:
        """Forget the message. Nobody waits for it here: a sender that hangs up once it has the answer ends
        the connection's task."""

        def tell(answer: asyncio.Future[Any]) -> None:
            if not answer.cancelled() and (error := answer.exception()) is not None:
                warn_sparingly(logger, "delivery not forgotten: %s", type(error).__name__)
            forgotten.set_result(None)

        entry = Forgotten(*recognised_by(message, resolution))
        self.forwarder.ledger.answer_to(entry).add_done_callback(tell)

    async def wait_until_forgotten(self, alias_id: int | None) -> None:
        """Wait until this alias's answered messages are forgotten: the sender may send the same octets
        again at once, and they would be taken for a second try."""
        if waiting := [each for each, other_id in self._forgetting.items() if other_id == alias_id]:
            await asyncio.wait(waiting, timeout=FORGET_TIMEOUT)

    async def handle_exception(self, error: Exception) -> str:
        """The answer to an unforeseen error, which is temporary."""
        logger.error("mail door: %s", type(error).__name__)
        return Answer.LATER.value
