"""The milter protocol, version 6, as Postfix speaks it: packets of a length, a command and data.

The names are libmilter's (smfi_register(3), xxfi_negotiate, smfi_setsymlist). Only what our milter needs
is here.
"""

import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum, IntFlag
from typing import NamedTuple

from mail.server.question_door import Malformed

VERSION = 6
# Octets of a packet. Postfix sends no header field of more than 60,000 (docs/mail.md).
PACKET_MAX = 128 * 1024
_LENGTH = struct.Struct(">I")


class BadPacket(Malformed):
    """These octets are not the protocol."""


class Command:
    """What the mail server sends."""

    ABORT = b"A"
    CONNECT = b"C"
    MACRO = b"D"
    END_OF_MESSAGE = b"E"
    HEADER = b"L"
    MAIL = b"M"
    NEGOTIATE = b"O"
    QUIT = b"Q"
    QUIT_NEW_CONNECTION = b"K"
    RCPT = b"R"


class Response:
    """What the milter answers."""

    ADD_RECIPIENT = b"+"
    CHANGE_SENDER = b"e"
    CONTINUE = b"c"
    DELETE_RECIPIENT = b"-"
    INSERT_HEADER = b"i"
    REPLY = b"y"


class Action(IntFlag):
    """What a milter may ask for at the end of a message (SMFIF_…)."""

    ADD_HEADERS = 0x1
    ADD_RECIPIENTS = 0x4
    DELETE_RECIPIENTS = 0x8
    CHANGE_SENDER = 0x40
    SET_MACROS = 0x100


class Step(IntFlag):
    """What a milter does not want to be sent (SMFIP_NO…), or does not answer (SMFIP_NR_…)."""

    NO_HELO = 0x2
    NO_BODY = 0x10
    NO_END_OF_HEADER = 0x40
    NO_REPLY_TO_HEADER = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    NO_REPLY_TO_CONNECT = 0x1000
    NO_REPLY_TO_MAIL = 0x4000


class Stage(IntEnum):
    """When macros are sent (SMFIM_…)."""

    CONNECT = 0
    HELO = 1
    MAIL = 2
    RCPT = 3
    DATA = 4
    END_OF_MESSAGE = 5
    END_OF_HEADER = 6


class Negotiation(NamedTuple):
    """What one side can do."""

    version: int
    actions: Action
    steps: Step


def split(received: bytearray) -> tuple[bytes, int] | None:
    """The first packet (its command, an octet, and its data), and the octets that it takes; None if it is
    incomplete. Raises BadPacket."""
    if len(received) < 4:
        return None
    (length,) = _LENGTH.unpack_from(received)
    if not 0 < length <= PACKET_MAX:
        raise BadPacket
    end = 4 + length
    return (bytes(received[4:end]), end) if len(received) >= end else None


def read_negotiation(data: bytes) -> Negotiation:
    """What the mail server offers. Raises BadPacket."""
    if len(data) < 12:
        raise BadPacket
    version, actions, steps = struct.unpack_from(">III", data)
    return Negotiation(version, Action(actions), Step(steps))


def read_client(data: bytes) -> str:
    """The client's address in a CONNECT packet; "" if the mail server does not know it. Raises BadPacket."""
    _name, end, rest = data.partition(b"\0")
    if not end or not rest:
        raise BadPacket
    if rest[:1] not in (b"4", b"6"):
        return ""
    # After the port.
    return _text(rest[3:].partition(b"\0")[0])


def read_macros(data: bytes) -> dict[str, str]:
    """The macros, and the values, in a MACRO packet. Raises BadPacket."""
    words = read_strings(data[1:])
    if not data or len(words) % 2:
        raise BadPacket
    return dict(zip(words[::2], words[1::2], strict=True))


def read_field(data: bytes) -> tuple[str, str]:
    """The name and the text in a HEADER packet. Raises BadPacket."""
    words = read_strings(data)
    if len(words) != 2:
        raise BadPacket
    return words[0], words[1]


def read_path(data: bytes) -> str:
    """The path in a MAIL or RCPT packet, without the parameters that follow it. Raises BadPacket."""
    words = read_strings(data)
    if not words:
        raise BadPacket
    return words[0]


def read_strings(data: bytes) -> list[str]:
    """The strings of a packet that has nothing else. Raises BadPacket."""
    if not data:
        return []
    if data[-1:] != b"\0":
        raise BadPacket
    return _text(data[:-1]).split("\0")


def packet(command: bytes, data: bytes = b"") -> bytes:
    """A packet as it is sent."""
    return _LENGTH.pack(1 + len(data)) + command + data


CONTINUE = packet(Response.CONTINUE)


def negotiation(actions: Action, steps: Step, macros: Mapping[Stage, Sequence[str]]) -> bytes:
    """Our answer to a negotiation: what we do, and the macros that we want at these stages and no others."""
    lists = (struct.pack(">I", stage) + _strings(" ".join(names)) for stage, names in macros.items())
    return packet(Command.NEGOTIATE, struct.pack(">III", VERSION, actions, steps) + b"".join(lists))


def reply(text: str) -> bytes:
    """Refuse with these words, which begin with a code (RFC 5321 §4.2)."""
    # A percent sign would begin a format (smfi_setreply).
    return packet(Response.REPLY, _strings(text.replace("%", "%%")))


def insert_header(index: int, name: str, text: str) -> bytes:
    """Put a field at this place of the header; 0 is the top."""
    folded = text.replace("\r\n", "\n")
    return packet(Response.INSERT_HEADER, struct.pack(">I", index) + _strings(name, folded))


def change_sender(address: str) -> bytes:
    return packet(Response.CHANGE_SENDER, _strings(f"<{address}>"))


def add_recipient(address: str) -> bytes:
    return packet(Response.ADD_RECIPIENT, _strings(f"<{address}>"))


def delete_recipient(address: str) -> bytes:
    return packet(Response.DELETE_RECIPIENT, _strings(f"<{address}>"))


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _strings(*words: str) -> bytes:
    return "".join(f"{word}\0" for word in words).encode("utf-8", "surrogateescape")
