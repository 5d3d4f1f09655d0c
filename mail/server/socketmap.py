"""A socket map for Postfix (socketmap_table(5)): the addresses that we take mail for, for virtual_alias_maps
beside ordinary mailboxes. A key that is found is its own value.
"""

import logging

from django.conf import settings

from mail.delivery.database import refuse_late
from mail.delivery.resolve import Kind, needs_database, resolve
from mail.server.question_door import QUESTION_MAX, Malformed, QuestionDoor

logger = logging.getLogger(__name__)

# The map's name, which Postfix sends before each key.
RECIPIENTS = "recipients"
NOT_FOUND = "NOTFOUND "
AWAY = "TEMP Cannot look this up now"


def look_up(key: str, deadline: float | None = None) -> str:
    """The answer for one key, as socketmap_table(5) writes it. Raises OperationalError if the database is
    needed and away."""
    return f"OK {key}" if _is_recipient(key, deadline) else NOT_FOUND


def _is_recipient(key: str, deadline: float | None) -> bool:
    local_part = key.rpartition("@")[0]
    # With a tag Postfix asks again without it, and by then its own mailboxes have been asked too.
    if not local_part or "+" in local_part:
        return False
    found = resolve(key)
    refuse_late(deadline)
    if found.kind is Kind.ROLE:
        return not found.is_shared and bool(settings.MAIL_POSTMASTER)
    return found.kind in {Kind.FORWARD, Kind.RETURN_PATH}


class SocketmapDoor(QuestionDoor):
    """Answers netstrings with netstrings; a temporary error if the database does not answer in time."""

    name = "socketmap"

    def split(self, received: bytearray) -> tuple[bytes, int] | None:
        length, colon, _rest = received[:8].partition(b":")
        # bytes.isdigit() knows only ASCII digits.
        if not (length.isdigit() or not length) or (colon and not length) or len(length) > 6:
            raise Malformed
        if not colon:
            return None
        begin, size = len(length) + 1, int(length)
        if size > QUESTION_MAX:
            raise Malformed
        if len(received) <= begin + size:
            return None
        if received[begin + size : begin + size + 1] != b",":
            raise Malformed
        return bytes(received[begin : begin + size]), begin + size + 1

    def answer_now(self, question: bytes) -> bytes | None:
        key = _key(question)
        return None if needs_database(key) else _netstring(look_up(key))

    async def answer(self, question: bytes) -> bytes:
        try:
            return _netstring(await self.lookup_threads.look_up(look_up, _key(question)))
        except Exception as error:
            logger.warning("socket map not answered: %s", type(error).__name__)
            return _netstring(AWAY)


def _key(question: bytes) -> str:
    name, space, key = question.decode("utf-8", "surrogateescape").partition(" ")
    if not space or name != RECIPIENTS:
        raise Malformed
    return key


def _netstring(text: str) -> bytes:
    octets = text.encode("utf-8", "surrogateescape")
    return b"%d:%b," % (len(octets), octets)
