"""The LMTP door (RFC 2033), to which Postfix hands over what it has queued."""

import asyncio
import logging
import re

from aiosmtpd.smtp import syntax

from mail.delivery.handover import Answer, Message, Said
from mail.delivery.resolve import Resolution
from mail.delivery.verdict import Verdict, after_queue
from mail.server.smtp import PATH, SmtpDoor
from mail.server.smtp_handler import Connection, SmtpEnvelope, SmtpHandler, SmtpSession, with_signature

logger = logging.getLogger(__name__)

# The mail server in front has queued a larger message already: only the administrator can put that right.
TOO_LARGE_AFTER_QUEUE = "452 4.3.5 Message larger than MAIL_SIZE_LIMIT"
# Octets of a command.
COMMAND_MAX = 8192
# Any Path (RFC 5321 §4.1.2), as a mail server in front writes it.
_ANY_PATH = re.compile(r"<(.*)>(?: +([^<>]*))?", re.DOTALL)


class LmtpHandler(SmtpHandler):
    """Gives each recipient an answer of its own."""

    protocols = ("LMTP", "LMTPS")
    # Postfix has asked before, and keeps its connection: its recipients are not guesses.
    refused_max = 10**9
    is_queued = True
    has_one_answer = False

    @with_signature
    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: Connection, session: SmtpSession, envelope: SmtpEnvelope, name: str, offered: list[str]
    ) -> list[str]:
        """Without SIZE (RFC 1870): Postfix would bounce a message that its own fields have made larger."""
        offered = await super().handle_EHLO(server, session, envelope, name, offered)
        return [line for line in offered if not line.startswith("250-SIZE")]

    def judge(self, resolution: Resolution, envelope: SmtpEnvelope) -> Verdict:
        return after_queue(super().judge(resolution, envelope))

    async def take(self, resolution: Resolution, message: Message) -> Answer | Said:
        """The same, but what is refused for good ends here, counted, instead of in a bounce to the sender."""
        answer = await super().take(resolution, message)
        if answer in (Answer.REFUSED, Answer.LOOP, Answer.UNKNOWN):
            logger.warning("dropped after it was queued: %s, %s", resolution.kind.value, answer.name.lower())
            return Answer.DONE
        return answer

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: Connection, session: SmtpSession, envelope: SmtpEnvelope
    ) -> str:
        """One line for each accepted recipient, in their order (RFC 2033 §4.2)."""
        message = self.message(session, envelope)
        resolutions = [await self.made(each, message) for each in envelope.resolutions]
        if len(resolutions) == 1:
            return (await self.take(resolutions[0], message)).value
        # The same alias twice (with tags, say) is one delivery and two answers.
        different = list(dict.fromkeys(resolutions))
        if any(resolution.correspondent for resolution in different):
            # Of one alias, with different tags: what goes to it is sent once.
            answers = [await self.take(resolution, message) for resolution in different]
        else:
            answers = await asyncio.gather(*(self.take(resolution, message) for resolution in different))
        answer_of = dict(zip(different, answers, strict=True))
        return "\r\n".join(answer_of[resolution].value for resolution in resolutions)


class LmtpDoor(SmtpDoor):
    """Greets with LHLO alone (RFC 2033 §4.1)."""

    show_smtp_greeting = False
    too_large = TOO_LARGE_AFTER_QUEUE
    # Postfix itself reads lines of 2,048 octets (line_length_limit), and writes them quoted.
    line_length_limit = command_max = COMMAND_MAX

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """The same, however the address is written: Postfix has taken the message already."""
        if not PATH.fullmatch(arg) and (match := _ANY_PATH.fullmatch(arg)):
            # aiosmtpd itself writes the null sender so.
            return match[1] or "<>", match[2] or ""
        return super()._getaddr(arg)

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        await super().smtp_EHLO(arg)

    async def smtp_HELO(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        await self.push("500 5.5.1 This is LMTP: say LHLO")

    smtp_EHLO = smtp_HELO  # noqa: N815 - aiosmtpd's name
