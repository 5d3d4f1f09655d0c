"""The submission door (RFC 6409): mail from the owners of aliases, who sign in with a token, to anybody."""

import asyncio
import base64
import binascii
import logging
from dataclasses import dataclass
from typing import Any

from aiosmtpd.smtp import syntax

from aliases.models import Alias
from contacts.addresses import correspondent_address
from contacts.book import PER_MESSAGE
from core.addresses import AddressError
from core.client_address import parse_ip
from core.sparing_logs import warn_sparingly
from mail.delivery.cleaning import Unsendable
from mail.delivery.handover import Answer, Message
from mail.delivery.reply import refused
from mail.delivery.resolve import Kind, Resolution
from mail.delivery.verdict import AWAY, UNKNOWN, Verdict, verdict
from mail.server.limits import LOCAL
from mail.server.sign_in import TOO_MANY_WRONG, WRONG, Person, SenderOf, SignIn, SignIns
from mail.server.smtp import SmtpDoor
from mail.server.smtp_handler import Connection, SmtpEnvelope, SmtpHandler, SmtpSession, with_signature

logger = logging.getLogger(__name__)

SIGNED_IN = "235 2.7.0 Signed in"
SIGN_IN_FIRST = '530 5.7.0 Sign in first, with your e-mail address and a token that has the right "Send mail"'
NO_TLS = "538 5.7.11 Sign in over TLS only"
NOT_NOW = "503 5.5.1 Not now"
NO_SUCH_MECHANISM = "504 5.5.4 Sign in with PLAIN or LOGIN"
UNREADABLE = "501 5.5.2 Cannot read this"
CANCELLED = "501 5.7.0 Cancelled"
TOO_LONG = "500 5.5.6 Line too long"
CANNOT_SIGN_IN_NOW = "454 4.7.0 Cannot look this up now, try again later"
SENDER_ACCEPTED = "250 2.1.0 OK"
NO_ADDRESS = "553 5.1.3 This is not a valid address"

# Octets of AUTH with an initial response: an address, a token, and a third more for base64.
AUTH_MAX = 1024
# Wrong tries of one connection.
WRONG_MAX = 3


class SubmissionSession(SmtpSession):
    """One connection, and who has signed in."""

    person: Person | None = None
    wrong_tries = 0

    @property
    def limited_client(self) -> str:
        """Whoever has signed in, from wherever; a stranger by the network."""
        return f"user {self.person.user_id}" if self.person else super().limited_client

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read what is said."""
        address = parse_ip(self.client)
        is_here = address.is_loopback if address else self.client == LOCAL
        return self.ssl is not None or is_here


class SubmissionEnvelope(SmtpEnvelope):
    """One transaction, and the alias that it is sent from."""

    alias: Alias | None = None


@dataclass(eq=False)
class SubmissionHandler(SmtpHandler):
    """Takes mail from the owner of the alias that it is from, for anybody."""

    sign_ins: SignIns

    protocols = ("ESMTPA", "ESMTPSA")
    has_one_answer = False
    # Each of them becomes a contact of the alias.
    recipients_max = PER_MESSAGE

    @with_signature
    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: Connection, session: Any, envelope: SmtpEnvelope, name: str, offered: list[str]
    ) -> list[str]:
        offered = await super().handle_EHLO(server, session, envelope, name, offered)
        return [*offered[:-1], "250-AUTH PLAIN LOGIN", offered[-1]] if session.is_private else offered

    async def sign_in(self, session: SubmissionSession, name: str, password: str) -> str:
        """The answer to somebody who signs in."""
        try:
            found = await self.sign_ins.ask(SignIn(name, password, session.client))
        except Exception as error:
            warn_sparingly(logger, "not signed in: %s", type(error).__name__)
            return CANNOT_SIGN_IN_NOW
        if isinstance(found, Person):
            session.person = found
            return SIGNED_IN
        return str(found)

    def judge(self, resolution: Resolution, envelope: SmtpEnvelope) -> Verdict:
        """Anybody may be written to. In our own domains, what is refused from outside is refused here too."""
        if resolution.kind is Kind.REVERSE:
            alias = envelope.alias if isinstance(envelope, SubmissionEnvelope) else None
            is_own = alias is not None and resolution.alias_id == alias.pk
            return Verdict(resolution, None if is_own else UNKNOWN)
        may_be_a_mailbox = resolution.kind is Kind.UNKNOWN and resolution.is_shared
        if resolution.kind is Kind.NOT_OURS or may_be_a_mailbox:
            return Verdict(resolution)
        return verdict(resolution, envelope.sender)

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self,
        server: Connection,
        session: SubmissionSession,
        envelope: SubmissionEnvelope,
        address: str,
        options: list[str],
    ) -> str:
        """The answer for the sender, which has to be an alias of whoever has signed in."""
        if session.person is None:
            return SIGN_IN_FIRST
        try:
            found = await self.sign_ins.ask(SenderOf(session.person, session.client, address))
        except Exception as error:
            warn_sparingly(logger, "sender not looked up: %s", type(error).__name__)
            return AWAY
        if not isinstance(found, Alias):
            return str(found)
        envelope.alias = found
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return SENDER_ACCEPTED

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Connection, session: SmtpSession, envelope: SmtpEnvelope, address: str, options: object
    ) -> str:
        """The answer for a recipient, who may be anybody."""
        try:
            correspondent_address(address)
        except AddressError:
            return NO_ADDRESS
        return await super().handle_RCPT(server, session, envelope, address, options)

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: Connection, session: Any, envelope: SmtpEnvelope
    ) -> str:
        """Send, and answer when the next hop has answered for all recipients."""
        alias = envelope.alias if isinstance(envelope, SubmissionEnvelope) else None
        if alias is None:
            return Answer.LATER.value
        message = self.message(session, envelope)
        try:
            _refuse_other_sender(message, alias)
            answer = await self.forwarder.replies.send_as(alias.pk, message, envelope.rcpt_tos)
        except Unsendable as reason:
            answer = refused(reason)
        except Exception as error:
            warn_sparingly(logger, "message not sent: %s", type(error).__name__)
            answer = Answer.LATER
        return answer.value


def _refuse_other_sender(message: Message, alias: Alias) -> None:
    """Raise Unsendable if the message says that somebody else than its author has sent it."""
    if any(mailbox.address != alias.address for mailbox in message.draft.mailboxes("sender")):
        raise Unsendable("Sender must be the alias, or be left out")


class SubmissionDoor(SmtpDoor):
    """One connection: the SMTP door with AUTH."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.command_size_limits["AUTH"] = AUTH_MAX

    def _create_session(self) -> SubmissionSession:
        return SubmissionSession(self.loop)

    def _create_envelope(self) -> SubmissionEnvelope:
        return SubmissionEnvelope()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        context = transport.get_extra_info("sslcontext")
        if self.session is not None and self.session.ssl is None and context is not None:
            # TLS before the greeting, of which aiosmtpd knows nothing.
            self.session.ssl = {"sslcontext": context}

    @syntax("AUTH <mechanism>")
    async def smtp_AUTH(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Sign in (RFC 4954) by PLAIN (RFC 4616) or LOGIN. aiosmtpd's own cannot wait for the database."""
        if await self.check_helo_needed("EHLO"):
            return
        try:
            answer = await self._sign_in(arg or "")
        except _NotSignedIn as error:
            answer = str(error)
        await self.push(answer)

    async def _sign_in(self, arg: str) -> str:
        session, handler = self.session, self.handler
        if not isinstance(session, SubmissionSession) or not isinstance(handler, SubmissionHandler):
            return NOT_NOW
        if not session.is_private:
            return NO_TLS
        if session.person or (self.envelope is not None and self.envelope.mail_from):
            return NOT_NOW
        name, password = await self._credentials(*arg.partition(" ")[::2])
        answer = await handler.sign_in(session, name, password)
        session.wrong_tries += answer == WRONG
        if answer == TOO_MANY_WRONG or session.wrong_tries >= WRONG_MAX:
            self.end_after_answer()
        return answer

    async def _credentials(self, mechanism: str, first: str) -> tuple[str, str]:
        """The name and the password. Raises _NotSignedIn."""
        match mechanism.upper():
            case "PLAIN":
                whole = _decoded(first.encode()) if first else await self._ask(b"")
                for_whom, _nul, rest = whole.partition(b"\0")
                name, nul, password = rest.partition(b"\0")
                if not nul or for_whom not in (b"", name):
                    raise _NotSignedIn(UNREADABLE)
            case "LOGIN":
                name = _decoded(first.encode()) if first else await self._ask(b"Username:")
                password = await self._ask(b"Password:")
            case _:
                raise _NotSignedIn(NO_SUCH_MECHANISM)
        return name.decode(errors="replace").strip(), password.decode(errors="replace").strip()

    async def _ask(self, challenge: bytes) -> bytes:
        """What the client answers to a challenge. Raises _NotSignedIn."""
        await self.push(b"334 " + base64.b64encode(challenge))
        try:
            line = await self._reader.readuntil()
        except asyncio.LimitOverrunError as error:
            self.end_after_answer()
            raise _NotSignedIn(TOO_LONG) from error
        return _decoded(line.strip())

    def _getparams(self, params: Any) -> dict[str, str | bool] | None:
        """Without AUTH= (RFC 4954 §5): who has signed in is known, and told to nobody."""
        found: dict[str, str | bool] | None = super()._getparams(params)
        if found:
            found.pop("AUTH", None)
        return found


class _NotSignedIn(Exception):
    """The reply that ends an attempt to sign in before there was a name and a password."""


def _decoded(text: bytes) -> bytes:
    """The octets in base64; `=` stands for none (RFC 4954 §4). Raises _NotSignedIn."""
    if text == b"*":
        raise _NotSignedIn(CANCELLED)
    try:
        return b"" if text == b"=" else base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _NotSignedIn(UNREADABLE) from error
