"""TLS at the doors: a certificate that is read again when its files change, and TLS before the greeting."""

import asyncio
import logging
import os
import ssl
from asyncio.sslproto import SSLProtocol
from typing import Any, cast

from django.conf import settings

from mail.server.limits import Connections

logger = logging.getLogger(__name__)

# Seconds for a handshake before the greeting: whoever connects to this port speaks TLS at once.
HANDSHAKE_TIME = 10


class Certificate:
    """The TLS context for a certificate and its key, in PEM files. Raises OSError."""

    def __init__(self, certificate: str, key: str) -> None:
        self._files = (certificate, key or certificate)
        self._seen = self._state()
        self.context = self._loaded()

    def follow_files(self) -> None:
        """Read the files again if they have changed: a renewed certificate needs no restart."""
        if (state := self._state()) == self._seen:
            return
        self._seen = state
        try:
            # Perhaps only one of the two is written yet: they must not replace a pair that works.
            self._loaded()
            self.context.load_cert_chain(*self._files)
        except OSError as error:
            logger.warning("the changed certificate is not used: %s", error)
        else:
            logger.info("the certificate was read again")

    def _loaded(self) -> ssl.SSLContext:
        for file in self._files:
            # OpenSSL does not say which of the two it cannot read.
            with open(file, "rb"):
                pass
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(*self._files)
        except ssl.SSLError as error:
            files = " and ".join(dict.fromkeys(self._files))
            raise ssl.SSLError(f"{files}: {error.reason or error}") from error
        return context

    def _state(self) -> list[tuple[int, int] | None]:
        return [_version(file) for file in self._files]


def _version(file: str) -> tuple[int, int] | None:
    """What changes when the file, or where a link leads, is written or replaced."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def configured_certificate() -> Certificate | None:
    """That of MAIL_TLS_CERTIFICATE; None without one. Raises OSError, and ValueError if a door needs one."""
    if not settings.MAIL_TLS_CERTIFICATE:
        if settings.MAIL_SUBMISSION_TLS_LISTEN:
            raise ValueError("MAIL_SUBMISSION_TLS_LISTEN needs MAIL_TLS_CERTIFICATE.")
        return None
    return Certificate(settings.MAIL_TLS_CERTIFICATE, settings.MAIL_TLS_KEY)


class TlsFirst(SSLProtocol):
    """TLS before the greeting (RFC 8314 §3). The connection counts from before the handshake: asyncio's own
    servers tell of one only after it, and many that never end theirs would count for nothing."""

    def __init__(self, door: Any, connections: Connections, context: ssl.SSLContext) -> None:
        super().__init__(
            asyncio.get_running_loop(),
            door,
            context,
            # Nobody waits for the handshake.
            cast(Any, None),
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_TIME,
        )
        self.door, self.connections = door, connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.connections.admit(self.door, transport):
            super().connection_made(transport)
        else:
            transport.close()

    def connection_lost(self, error: BaseException | None) -> None:
        self.connections.gone(self.door)
        super().connection_lost(error)
