"""Postfix's socket maps (socketmap_table(5)). A key that is found is its own value.

- `domains`: the domains that are ours alone, for relay_domains.
- `recipients`: the addresses that we take mail for, for virtual_alias_maps beside ordinary mailboxes.
"""

import logging

from django.conf import settings

from core.addresses import AddressError, domain_to_ascii
from mail.delivery.database import refuse_late
from mail.delivery.resolve import Kind, needs_database, our_domains, resolve
from mail.server.question_door import QUESTION_MAX, Malformed, QuestionDoor

logger = logging.getLogger(__name__)

NOT_FOUND = "NOTFOUND "
AWAY = "TEMP Cannot look this up now"


def look_up(name: str, key: str, deadline: float | None = None) -> str:
    """The answer to one question, as socketmap_table(5) writes it.

    Raises OperationalError if the database is needed and away; Malformed for an unknown map.
    """
    match name:
        case "domains":
            return f"OK {key}" if _is_ours_alone(key) else NOT_FOUND
        case "recipients":
            return f"OK {key}" if _is_recipient(key, deadline) else NOT_FOUND
    raise Malformed


def _is_ours_alone(key: str) -> bool:
    try:
        domain = domain_to_ascii(key)
    except AddressError:
        return False
    shared = our_domains.shared()
    # At our own host's name there are only postmaster and abuse, which the policy service knows.
    return shared.get(domain, domain != settings.MAIL_HOSTNAME) is False


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
        name, key = _parts(question)
        is_known = our_domains.known() is not None if name == "domains" else not needs_database(key)
        return _netstring(look_up(name, key)) if is_known else None

    async def answer(self, question: bytes) -> bytes:
        name, key = _parts(question)
        try:
            return _netstring(await self.lookup_threads.look_up(look_up, name, key))
        except Malformed:
            raise
        except Exception as error:
            logger.warning("socket map not answered: %s", type(error).__name__)
            return _netstring(AWAY)


def _parts(question: bytes) -> tuple[str, str]:
    name, space, key = question.decode("utf-8", "surrogateescape").partition(" ")
    if not space:
        raise Malformed
    return name, key


def _netstring(text: str) -> bytes:
    octets = text.encode("utf-8", "surrogateescape")
    return b"%d:%b," % (len(octets), octets)
