"""Where forwarded mail goes: an SMTP server (Postfix's re-injection port, a smarthost), or a Maildir."""

import os
import re
import smtplib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

CONNECT_TIMEOUT = 30  # seconds
_FALSE_END = re.compile(rb"([\r\n])\.(?=[\r\n])")
ENHANCED = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")


@dataclass(frozen=True)
class Accepted:
    """The next hop has taken responsibility (RFC 5321 §6.1)."""


@dataclass(frozen=True)
class Refused:
    """The next hop refuses for good. `status` is an enhanced status code (RFC 3463)."""

    status: str


@dataclass(frozen=True)
class Pending:
    """Not now: the message stays where it is, and is tried again."""

    reason: str


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
        self._number = 0
        self._lock = threading.Lock()

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
        with self._lock:
            self._number += 1
            number = self._number
        name = f"{time.time_ns()}.P{os.getpid()}Q{number}.{socket.gethostname().replace('/', '_')}"
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

    def envelope(self, sender: str, recipient: str, options: list[str]) -> tuple[int, bytes]:
        """MAIL, RCPT and DATA, in one go where the server allows it (RFC 2920): 354, or what refuses."""
        lines = [f"MAIL FROM:<{sender}> {' '.join(options)}".rstrip(), f"RCPT TO:<{recipient}>", "DATA"]
        if not self.has_extn("pipelining"):
            for line in lines:
                code, answer = self._command(line)
                if not 200 <= code < 400:
                    break
            return code, answer
        self.send("".join(f"{line}\r\n" for line in lines).encode())
        answers = [self.getreply() for _line in lines]
        refusals = [answer for answer in answers[:2] if not 200 <= answer[0] < 300]
        if refusals and answers[2][0] == 354:
            # It takes data for nobody (RFC 2920 §3.1 allows it): an empty message ends that.
            self.send(b".\r\n")
            self.getreply()
        return refusals[0] if refusals else answers[2]

    def _command(self, line: str) -> tuple[int, bytes]:
        self.send(f"{line}\r\n".encode())
        return self.getreply()

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


class SmtpHop:
    """Sends through an SMTP server over connections that are kept, one a thread."""

    def __init__(
        self, host: str, port: int, *, tls: str = "", user: str = "", password: str = "", hostname: str = ""
    ) -> None:
        self.host, self.port = host, port
        self.tls, self.user, self.password, self.hostname = tls, user, password, hostname
        self._local = threading.local()
        self._open: set[_Client] = set()

    def close(self) -> None:
        """Close the connections of all threads, once none of them sends any more."""
        while self._open:
            self._open.pop().close()
        self._local = threading.local()

    def send(self, sender: str, recipient: str, message: bytes, *, utf8: bool = False) -> Outcome:
        for is_last in (False, True):
            kept = getattr(self._local, "client", None)
            try:
                client = kept or self._connect()
                return self._transaction(client, sender, recipient, message, utf8)
            except (OSError, smtplib.SMTPException) as error:
                self._drop()
                # A kept connection may have gone stale with a restart: once more, over a new one.
                if kept is None or is_last:
                    return Pending(type(error).__name__)
        raise AssertionError("unreachable")

    def _connect(self) -> _Client:
        kind = _TlsClient if self.tls == "smtps" else _Client
        client = kind(self.host, self.port, self.hostname or None, timeout=CONNECT_TIMEOUT)
        try:
            client.ehlo_or_helo_if_needed()
            if self.tls == "starttls":
                client.starttls(context=ssl.create_default_context())
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
        client = getattr(self._local, "client", None)
        self._local.client = None
        if client is not None:
            self._open.discard(client)
            client.close()

    def _transaction(
        self, client: _Client, sender: str, recipient: str, message: bytes, utf8: bool
    ) -> Outcome:
        options = []
        if client.has_extn("8bitmime") and not message.isascii():
            options.append("BODY=8BITMIME")
        if utf8:
            if not client.has_extn("smtputf8"):
                return Refused("5.6.7")
            options.append("SMTPUTF8")
        if client.has_extn("size"):
            options.append(f"SIZE={len(message)}")
        code, answer = client.envelope(sender, recipient, options)
        if code == 354:
            code, answer = client.send_octets(message)
        if 200 <= code < 300:
            return Accepted()
        if code == 421 or code < 200:
            self._drop()
            return Pending(str(code))
        client.rset()
        if code < 500:
            return Pending(str(code))
        found = ENHANCED.search(answer.decode("utf-8", "replace"))
        return Refused(found[1] if found and found[1].startswith("5") else "5.0.0")


def next_hop_from(url: str, hostname: str) -> NextHop:
    """The next hop that MAIL_NEXT_HOP names: `maildir:///path`, `smtp://host:port`, `smtps://…`, or
    `smtp+starttls://user:password@host:port`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme == "maildir" and parts.path:
        return Maildir(Path(unquote(parts.path)))
    tls = {"smtp": "", "smtps": "smtps", "smtp+starttls": "starttls"}.get(parts.scheme)
    if tls is None or not parts.hostname:
        raise ValueError("MAIL_NEXT_HOP is no next hop.")
    return SmtpHop(
        parts.hostname,
        parts.port or {"": 25, "smtps": 465, "starttls": 587}[tls],
        tls=tls,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        hostname=hostname,
    )
