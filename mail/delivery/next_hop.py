"""Where forwarded mail goes: an SMTP server (Postfix's re-injection port, a smarthost), or a Maildir."""

import asyncio
import itertools
import os
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib
from django.conf import settings

from mail.delivery.message import Octets
from mail.delivery.smtp_client import TIMEOUT, Connection, Mail

# An enhanced status is the first word after the reply code (RFC 2034 §4), and only there: an address in
# the text that follows can look like one.
_ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?!\S)")
# What a smarthost says to a client that has not signed in, or may not send through it: RFC 4954 §6, RFC
# 5248. None of it is about the destination.
_NOT_LET_IN_CODES = {530, 534, 535, 538}
_NOT_LET_IN_STATUSES = {"5.7.8", "5.7.9", "5.7.11", "5.7.12", "5.7.14"}
_NOT_LET_IN = re.compile(
    r"\brelay(ing)?\b.{0,40}\b(denied|prohibited|refused|disallowed|not (permitted|allowed))"
    r"|\b(not|cannot|can't|unable to|don't) relay\b|\bauthenticat\w+ (is )?(required|needed|first)",
    re.IGNORECASE | re.DOTALL,
)
# Refusals of MAIL that are about the message: it is too large (RFC 1870 §6.1), or would need a conversion.
_ABOUT_THE_MESSAGE = {"5.2.3", "5.3.4", "5.6.3", "5.6.7"}


@dataclass(frozen=True)
class Accepted:
    """The next hop has taken responsibility (RFC 5321 §6.1)."""


@dataclass(frozen=True)
class Refused:
    """The next hop refuses for good. `status` is an enhanced status code (RFC 3463), `words` its own."""

    status: str
    words: str = field(default="", compare=False)


@dataclass(frozen=True)
class Pending:
    """Not now: the message stays where it is, and is tried again."""

    reason: str
    is_ours: bool = False  # nor later, until somebody changes this site's configuration


Outcome = Accepted | Refused | Pending


class NextHop(Protocol):
    """Takes messages on, in one event loop."""

    async def send(
        self, sender: str, recipient: str, message: Octets, *, top: bytes = b"", utf8: bool = False
    ) -> Outcome:
        """Hand one message over, to one recipient; `sender` is "" for the null sender.

        `top`: what goes above the message's own octets. A large message is not copied for it.
        """

    async def close(self) -> None:
        """Let go of what is kept between messages."""


class Maildir:
    """Writes each message as a file into a Maildir, durably."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers = itertools.count(1)

    async def send(
        self, sender: str, recipient: str, message: Octets, *, top: bytes = b"", utf8: bool = False
    ) -> Outcome:
        try:
            envelope = f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\n".encode()
            await asyncio.to_thread(self._write, envelope, top, message)
        except OSError as error:
            return Pending(f"maildir: {error.strerror}")
        return Accepted()

    async def close(self) -> None:
        """Nothing is kept."""

    def _write(self, *parts: Octets) -> None:
        for name in ("tmp", "new", "cur"):
            (self.path / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        host = socket.gethostname().replace("/", "_")
        name = f"{time.time_ns()}.P{os.getpid()}Q{next(self._numbers)}.{host}"
        temporary = self.path / "tmp" / name
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.path / "new" / name)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        directory = os.open(self.path / "new", os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@dataclass(eq=False, repr=False)
class SmtpHop:
    """Sends through an SMTP server over connections that are kept: as many as are used at once."""

    host: str
    port: int
    tls: str = ""
    user: str = ""
    password: str = ""
    hostname: str = ""
    # A PEM file of those who may vouch for its certificate, "" for the system's; OSError if it is unreadable.
    authorities: str = ""

    def __post_init__(self) -> None:
        # Its certificate must be signed by one of them, and name the host that we connect to.
        self._context = ssl.create_default_context(cafile=self.authorities or None) if self.tls else None
        self._kept: list[Connection] = []

    async def close(self) -> None:
        """Close the connections, once nothing is sent any more."""
        while self._kept:
            await self._kept.pop().close()

    async def send(
        self, sender: str, recipient: str, message: Octets, *, top: bytes = b"", utf8: bool = False
    ) -> Outcome:
        mail = Mail(sender, recipient, message, top, utf8)
        if kept := await self._take_kept():
            try:
                return await self._send_over(kept, mail)
            except (OSError, aiosmtplib.SMTPException) as error:
                # It may have gone stale with a restart of the server: then once more, over a new one. Not if
                # the server went on to the data: it may have taken the message.
                if kept.is_in_data:
                    return Pending(*_why_not(error))
        try:
            return await self._send_over(await self._connect(), mail)
        except (OSError, aiosmtplib.SMTPException) as error:
            return Pending(*_why_not(error))

    async def _send_over(self, connection: Connection, mail: Mail) -> Outcome:
        try:
            outcome = await self._transaction(connection, mail)
        except BaseException:
            await connection.close()
            raise
        self._kept.append(connection)
        return outcome

    async def _take_kept(self) -> Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if connection.is_usable:
                return connection
            await connection.close()
        return None

    async def _connect(self) -> Connection:
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            local_hostname=self.hostname or None,
            timeout=TIMEOUT,
            use_tls=self.tls == "smtps",
            start_tls=False,
            tls_context=self._context,
        )
        await client.connect()
        try:
            if self.tls == "starttls":
                await client.starttls()
            try:
                await client.ehlo()
            except aiosmtplib.SMTPHeloError:
                await client.helo()
            if self.user:
                await client.login(self.user, self.password)
            return Connection(client)
        except BaseException:
            client.close()
            raise

    async def _transaction(self, connection: Connection, mail: Mail) -> Outcome:
        options = []
        if "8bitmime" in connection.extensions and not mail.is_ascii:
            options.append("BODY=8BITMIME")
        if await mail.needs_utf8():
            if "smtputf8" not in connection.extensions:
                return Refused("5.6.7")
            options.append("SMTPUTF8")
        if "size" in connection.extensions:
            options.append(f"SIZE={mail.size}")
        command, answer = await connection.envelope(mail.sender, mail.recipient, options)
        if command == "DATA" and answer.code == 354:
            command, answer = ".", await connection.send_octets(mail)
        if command == "." and 200 <= answer.code < 300:
            return Accepted()
        if answer.code == 421 or answer.code < 400:
            await connection.close()
            return Pending(str(answer.code))
        await connection.reset()
        if answer.code < 500:
            return Pending(str(answer.code))
        return _refusal(command, answer.code, answer.text.decode("utf-8", "replace"))


def _why_not(error: Exception) -> tuple[str, bool]:
    """A failed connection's reason, and whether it will fail until somebody changes the configuration."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        # A greeting of 554, EHLO refused, AUTH refused.
        return f"{type(error).__name__} {error.code}", error.code >= 500
    if type(error) is aiosmtplib.SMTPException:
        # It offers no STARTTLS, or no AUTH that we know.
        return error.message, True
    cause = error.__cause__ if isinstance(error, aiosmtplib.SMTPConnectError) else None
    reason = cause or error
    return type(reason).__name__, isinstance(reason, ssl.SSLCertVerificationError)


def enhanced_status(words: str) -> str:
    """The enhanced status (RFC 3463) at the start of a reply's text; "" if there is none."""
    found = _ENHANCED.match(words)
    return found[1] if found else ""


def _refusal(command: str, code: int, words: str) -> Outcome:
    """What a 5xx to that command says: of the destination and the message, or of this site."""
    status = enhanced_status(words)
    status = status if status.startswith("5") else ""
    is_about_us = code in _NOT_LET_IN_CODES or status in _NOT_LET_IN_STATUSES
    # After the data, these words are about whoever wrote the message (DMARC, say).
    is_about_us |= command != "." and _NOT_LET_IN.search(words) is not None
    # RFC 5321 §4.1.1.2: what is refused there is the sender, an address of ours.
    is_about_us |= command == "MAIL" and status not in _ABOUT_THE_MESSAGE and code != 552
    if is_about_us:
        return Pending(" ".join(part for part in (command, str(code), status) if part), is_ours=True)
    return Refused(status or "5.0.0", f"{code} {words}")


_FORMS = (
    "Write MAIL_NEXT_HOP as maildir:///path, smtp://host:port, smtps://host:port or "
    "smtp+starttls://user:password@host:port."
)


def next_hop_from(url: str, hostname: str, authorities: str = "") -> NextHop:
    """The next hop that MAIL_NEXT_HOP names, with MAIL_NEXT_HOP_CA as its `authorities`. Raises ValueError,
    whose text says what to write; OSError if that file cannot be read."""
    parts = urlsplit(url)
    if parts.scheme == "maildir":
        if parts.netloc or not parts.path.startswith("/"):
            # maildir://var/mail names a host `var` and the folder /mail there.
            raise ValueError("Write the whole path of a Maildir after three slashes: maildir:///srv/mail.")
        return Maildir(Path(unquote(parts.path)))
    tls = {"smtp": "", "smtps": "smtps", "smtp+starttls": "starttls"}.get(parts.scheme)
    try:
        port = parts.port
    except ValueError:
        # Its own text has a part of the URL, which may be one of the password.
        raise ValueError(_FORMS) from None
    if tls is None or not parts.hostname:
        raise ValueError(_FORMS)
    user, password = (unquote(part or "") for part in (parts.username, parts.password))
    if set(user + password) & {"\0", "\ufffd"}:
        raise ValueError(
            "MAIL_NEXT_HOP: write the characters of user and password that are not letters or digits as %XX,"
            " in UTF-8."
        )
    port = port or {"": 25, "smtps": 465, "starttls": 587}[tls]
    return SmtpHop(parts.hostname, port, tls, user, password, hostname, authorities)


def configured_next_hop() -> NextHop:
    """The next hop of the settings. Raises as `next_hop_from` does."""
    return next_hop_from(settings.MAIL_NEXT_HOP, settings.MAIL_HOSTNAME, settings.MAIL_NEXT_HOP_CA)


def send_once(hop: NextHop, sender: str, recipient: str, message: bytes, *, utf8: bool = False) -> Outcome:
    """Hand one message over from where there is no event loop."""

    async def send() -> Outcome:
        try:
            return await hop.send(sender, recipient, message, utf8=utf8)
        finally:
            await hop.close()

    return asyncio.run(send())
