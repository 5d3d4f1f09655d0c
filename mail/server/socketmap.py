"""A socket map for Postfix (socketmap_table(5)): the addresses that we take mail for, for virtual_alias_maps
beside ordinary mailboxes. A key that is found is its own value.
"""

import logging

from django.conf import settings

from core.sparing_logs import warn_sparingly
from mail.delivery.lookups import Lookups
from mail.delivery.resolve import Kind, Resolution, needs_database, resolve
from mail.server.limits import Connections
from mail.server.question_door import QUESTION_MAX, Malformed, QuestionDoor

logger = logging.getLogger(__name__)

# The map's name, which Postfix sends before each key.
RECIPIENTS = "recipients"
NOT_FOUND = "NOTFOUND "
AWAY = "TEMP Cannot look this up now"


def _answer(key: str, found: Resolution) -> bytes:
    """The answer for one key, as socketmap_table(5) writes it; `found`: what the key is."""
    return _netstring(f"OK {key}" if _is_recipient(found) else NOT_FOUND)


def _may_be_recipient(key: str) -> bool:
    local_part = key.rpartition("@")[0]
    # With a tag Postfix asks again without it, and by then its own mailboxes have been asked too.
    return bool(local_part) and "+" not in local_part


def _is_recipient(found: Resolution) -> bool:
    if found.kind is Kind.ROLE:
        return not found.is_shared and bool(settings.MAIL_POSTMASTER)
    return found.kind in {Kind.FORWARD, Kind.RETURN_PATH, Kind.REVERSE, Kind.NEW, Kind.FULL}


class SocketmapDoor(QuestionDoor):
    """Answers netstrings with netstrings; a temporary error if the database does not answer in time."""

    name = "socketmap"

    def __init__(self, lookups: Lookups, connections: Connections) -> None:
        super().__init__(connections)
        self.lookups = lookups

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
        if not _may_be_recipient(key):
            return _netstring(NOT_FOUND)
        return None if needs_database(key) else _answer(key, resolve(key))

    async def answer(self, question: bytes) -> bytes:
        key = _key(question)
        try:
            return _answer(key, await self.lookups.resolve(key))
        except Exception as error:
            warn_sparingly(logger, "socket map not answered: %s", type(error).__name__)
            return _netstring(AWAY)


def _key(question: bytes) -> str:
    name, space, key = question.decode("utf-8", "surrogateescape").partition(" ")
    if not space or name != RECIPIENTS:
        raise Malformed
    return key


def _netstring(text: str) -> bytes:
    octets = text.encode("utf-8", "surrogateescape")
    return b"%d:%b," % (len(octets), octets)
