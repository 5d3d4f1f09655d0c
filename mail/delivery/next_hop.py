"""Where forwarded mail goes: an SMTP server (Postfix's re-injection port, a smarthost), or a Maildir."""

import base64
import hmac
import itertools
import os
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from django.conf import settings

from mail.delivery.message import needs_utf8

CONNECT_TIMEOUT = 30  # seconds
# Challenges in one AUTH dialogue; LOGIN, the longest that we speak, has two.
CHALLENGES_MAX = 5
_FALSE_END = re.compile(rb"([\r\n])\.(?=[\r\n])")
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
    """Takes messages on."""

    def send(self, sender: str, recipient: str, message: bytes, *, utf8: bool = False) -> Outcome:
        """Hand one message over, to one recipient; `sender` is "" for the null sender."""

    def close(self) -> None:
        """Let go of what is kept between messages."""


class Maildir:
    """Writes each message as a file into a Maildir, durably."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers = itertools.count(1)

    def send(self, sender: str, recipient: str, message: bytes, *, utf8: bool = False) -> Outcome:
        try:
            self._write(f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\n".encode() + message)
        except OSError as error:
            return Pending(f"maildir: {error.strerror}")
        return Accepted()

    def close(self) -> None:
        """Nothing is kept."""

    def _write(self, content: bytes) -> None:
        for name in ("tmp", "new", "cur"):
            (self.path / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        host = socket.gethostname().replace("/", "_")
        name = f"{time.time_ns()}.P{os.getpid()}Q{next(self._numbers)}.{host}"
        temporary = self.path / "tmp" / name
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
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


class _Client(smtplib.SMTP):
    """smtplib's own DATA changes octets (dots after a bare LF); this sends them as they are."""

    def auth(
        self, mechanism: str, authobject: Callable[..., str | None], *, initial_response_ok: bool = True
    ) -> tuple[int, bytes]:
        """smtplib's, with what is said in UTF-8 (RFC 4616 §2): its own knows passwords of ASCII alone."""
        initial = authobject() if initial_response_ok else None
        words = [mechanism] if initial is None else [mechanism, _base64(initial)]
        code, answer = self.docmd("AUTH", " ".join(words))
        # LOGIN's answers depend on how many it was asked for before.
        self._auth_challenge_count = int(initial is not None)
        while code == 334 and self._auth_challenge_count < CHALLENGES_MAX:
            self._auth_challenge_count += 1
            try:
                challenge = base64.b64decode(answer)
            except ValueError as error:
                raise smtplib.SMTPException("a challenge that is not base64") from error
            code, answer = self.docmd(_base64(authobject(challenge) or ""))
        if code not in {235, 503}:
            raise smtplib.SMTPAuthenticationError(code, answer)
        return code, answer

    def auth_cram_md5(self, challenge: bytes | None = None) -> str | None:  # type: ignore[override]
        """RFC 2195, with a password in UTF-8."""
        if challenge is None:
            return None
        return f"{self.user} {hmac.new(self.password.encode(), challenge, 'md5').hexdigest()}"

    def envelope(self, sender: str, recipient: str, options: list[str]) -> tuple[str, int, bytes]:
        """MAIL, RCPT and DATA, in one go where the server allows it (RFC 2920): the command that was
        answered last (the one that was refused, if any was), and its answer."""
        lines = [f"MAIL FROM:<{sender}> {' '.join(options)}".rstrip(), f"RCPT TO:<{recipient}>", "DATA"]
        if not self.has_extn("pipelining"):
            for line in lines:
                self.send(f"{line}\r\n".encode())
                code, answer = self.getreply()
                if not 200 <= code < 400:
                    break
            return line[:4], code, answer
        self.send("".join(f"{line}\r\n" for line in lines).encode())
        answers = [(line[:4], *self.getreply()) for line in lines]
        refusals = [answer for answer in answers[:2] if not 200 <= answer[1] < 300]
        if refusals and answers[2][1] == 354:
            # It takes data for nobody (RFC 2920 §3.1 allows it): an empty message ends that.
            self.send(b".\r\n")
            self.getreply()
        return refusals[0] if refusals else answers[2]

    def send_octets(self, message: bytes) -> tuple[int, bytes]:
        """What follows DATA (RFC 5321 §4.1.1.4): the message with its dots doubled after CRLF alone."""
        # A lone dot after a bare LF or CR ends the data for a server that is lax about line ends; what
        # follows would be commands there. Those lines alone get a dot more than they had.
        stuffed = _FALSE_END.sub(rb"\1..", message.replace(b"\r\n.", b"\r\n.."))
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        end = b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n"
        self.send(stuffed + end)
        return self.getreply()


class _TlsClient(_Client, smtplib.SMTP_SSL):
    """The same over TLS from the first octet on (RFC 8314)."""


@dataclass(eq=False, repr=False)
class SmtpHop:
    """Sends through an SMTP server over connections that are kept, one a thread."""

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
        self._local = threading.local()
        self._open: set[_Client] = set()

    def close(self) -> None:
        """Close the connections of all threads, once none of them sends any more."""
        while self._open:
            self._open.pop().close()
        self._local = threading.local()

    def send(self, sender: str, recipient: str, message: bytes, *, utf8: bool = False) -> Outcome:
        kept = getattr(self._local, "client", None)
        try:
            client = kept or self._connect()
            return self._transaction(client, sender, recipient, message, utf8)
        except (OSError, smtplib.SMTPException) as error:
            self._drop()
            if kept is None:
                return Pending(*_why_not(error))
        # The kept connection may have gone stale with a restart: once more, over a new one.
        return self.send(sender, recipient, message, utf8=utf8)

    def _connect(self) -> _Client:
        client: _Client
        name, place = self.hostname or None, (self.host, self.port)
        if self.tls == "smtps":
            client = _TlsClient(*place, name, timeout=CONNECT_TIMEOUT, context=self._context)
        else:
            client = _Client(*place, name, timeout=CONNECT_TIMEOUT)
        try:
            client.ehlo_or_helo_if_needed()
            if self.tls == "starttls":
                client.starttls(context=self._context)
                client.ehlo()
            if self.user:
                client.login(self.user, self.password)
        except (OSError, smtplib.SMTPException):
            client.close()
            raise
        self._local.client = client
        self._open.add(client)
        return client

    def _drop(self) -> None:
        client, self._local.client = getattr(self._local, "client", None), None
        if client is not None:
            self._open.discard(client)
            client.close()

    def _transaction(
        self, client: _Client, sender: str, recipient: str, message: bytes, utf8: bool
    ) -> Outcome:
        options = []
        if client.has_extn("8bitmime") and not message.isascii():
            options.append("BODY=8BITMIME")
        # Asked for by clients that need it for none of this: from what is sent follows what is needed.
        if not (sender + recipient).isascii() or (utf8 and needs_utf8(message)):
            if not client.has_extn("smtputf8"):
                return Refused("5.6.7")
            options.append("SMTPUTF8")
        if client.has_extn("size"):
            options.append(f"SIZE={len(message)}")
        command, code, answer = client.envelope(sender, recipient, options)
        if code == 354:
            command, (code, answer) = ".", client.send_octets(message)
        if 200 <= code < 300:
            return Accepted()
        if code == 421 or code < 200:
            self._drop()
            return Pending(str(code))
        client.rset()
        if code < 500:
            return Pending(str(code))
        return _refusal(command, code, answer.decode("utf-8", "replace"))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _why_not(error: Exception) -> tuple[str, bool]:
    """A failed connection's reason, and whether it will fail until somebody changes the configuration."""
    if isinstance(error, smtplib.SMTPResponseException):
        # A greeting of 554, EHLO refused, AUTH refused.
        return f"{type(error).__name__} {error.smtp_code}", error.smtp_code >= 500
    never = (ssl.SSLCertVerificationError, smtplib.SMTPNotSupportedError)
    return type(error).__name__, isinstance(error, never)


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
