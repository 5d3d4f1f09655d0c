"""What the policy and the socket map doors share: connections that are bounded, and never stay half asked."""

import asyncio
import logging
from typing import ClassVar

from mail.smtp_door import Connections
from mail.work import Pool

logger = logging.getLogger(__name__)

# Seconds: a question that has begun is asked to its end; between two of them Postfix keeps a connection
# for as long (smtpd_policy_service_max_idle is 300, ipc_ttl 1,000).
QUESTION_TIMEOUT = 10.0
IDLE_TIMEOUT = 1200.0
# Octets: Postfix's own limit for an attribute or a socket map's answer is 100,000 (socketmap_table(5)).
QUESTION_MAX = 16 * 1024


class Malformed(Exception):
    """What came is not the protocol. Nothing is answered: Postfix then says "try later"."""


class LineDoor:
    """Serves one request-and-answer protocol over asyncio streams."""

    name: ClassVar[str]

    def __init__(self, lookups: Pool, connections: Connections) -> None:
        self.lookups = lookups
        self.connections = connections

    async def question(self, first: bytes, reader: asyncio.StreamReader) -> bytes:
        """The rest of a request whose first octet has come. Raises Malformed, IncompleteReadError."""
        raise NotImplementedError

    async def answer(self, question: bytes) -> bytes:
        """The octets of the answer. Raises Malformed."""
        raise NotImplementedError

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's questions until it ends."""
        try:
            if self.connections.admit(writer, writer.transport):
                await self._serve(reader, writer)
        except Malformed:
            logger.warning("%s door: a request that is none", self.name)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            # They went away, or began a question and did not ask it.
            pass
        finally:
            self.connections.gone(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while first := await asyncio.wait_for(reader.read(1), IDLE_TIMEOUT):
            question = await asyncio.wait_for(self.question(first, reader), QUESTION_TIMEOUT)
            writer.write(await self.answer(question))
            await asyncio.wait_for(writer.drain(), QUESTION_TIMEOUT)
