"""Octets as they come in, in pieces of any size, are the message that was sent."""

import asyncio
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.server import limits
from mail.server.incoming import LARGE, IncomingMessage
from mail.server.limits import MessageMemory

MESSAGES = st.lists(st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a", b"\r\n..\r\n"])).map(b"".join)


async def received(sent: bytes, at_once: int, buffer: int) -> IncomingMessage:
    """What is made of octets that come so many at once, with a buffer that holds so many."""
    reader = asyncio.StreamReader(limit=buffer)
    message = IncomingMessage(MessageMemory(), "192.0.2.1", 10_000, "552 too large")
    reading = asyncio.create_task(message.read(reader))
    for begin in range(0, len(sent), at_once):
        reader.feed_data(sent[begin : begin + at_once])
        await asyncio.sleep(0)
    await reading
    return message


@given(MESSAGES, st.integers(1, 40), st.integers(8, 40))
def test_dots_for_transparency_are_removed_wherever_the_pieces_end(
    lines: bytes, at_once: int, buffer: int
) -> None:
    content = lines if lines.endswith(b"\r\n") or not lines else lines + b"\r\n"
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..").removeprefix(b"\r\n")
    message = asyncio.run(received(stuffed + b".\r\n", at_once, buffer))
    assert (message.complete(), message.refusal, message.deadline) == (content, "", None)


class Coming:
    """A large message that comes in."""

    def __init__(self, memory: MessageMemory, client: str = "") -> None:
        self.reader = asyncio.StreamReader()
        self.message = IncomingMessage(memory, client, 10 * LARGE, "552 too large")
        self.reading = asyncio.create_task(self.message.read(self.reader))
        self.reader.feed_data(b"x" * (LARGE + 1))

    async def end(self) -> None:
        self.reader.feed_data(b"\r\n.\r\n")
        await asyncio.wait_for(self.reading, 60)


async def settled() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


def test_large_messages_of_our_own_mail_server_come_in_one_after_the_other() -> None:
    async def scenario() -> None:
        memory = MessageMemory()
        first = Coming(memory)
        await settled()
        second = Coming(memory)
        await settled()
        await first.end()
        second.reader.feed_data(b"\r\n.\r\n")
        await settled()
        assert not second.reading.done()
        first.message.release()
        await second.end()
        assert len(second.message.complete()) == LARGE + 3
        second.message.release()

    asyncio.run(scenario())


def test_one_that_takes_long_holds_nobody_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGE_PATIENCE", 0.05)

    async def scenario() -> None:
        memory = MessageMemory()
        first, second = Coming(memory), Coming(memory)
        await second.end()
        second.message.release()
        await first.end()
        first.message.release()
        third = Coming(memory)
        await third.end()

    asyncio.run(scenario())


def test_one_that_is_broken_off_lets_the_next_one_in() -> None:
    async def scenario() -> None:
        memory = MessageMemory()
        first = Coming(memory)
        await settled()
        second = Coming(memory)
        first.reading.cancel()
        first.message.release()
        await second.end()

    asyncio.run(scenario())


def test_strangers_do_not_wait_for_each_other() -> None:
    async def scenario() -> None:
        memory = MessageMemory()
        first, second = (Coming(memory, client) for client in ("192.0.2.1", "192.0.2.2"))
        await second.end()
        await first.end()

    asyncio.run(scenario())


def test_what_follows_the_message_stays_to_be_read() -> None:
    async def scenario() -> tuple[IncomingMessage, bytes]:
        reader = asyncio.StreamReader(limit=1001)
        message = IncomingMessage(MessageMemory(), "192.0.2.1", 10_000, "552 too large")
        reader.feed_data(b"Hello\r\n.\r\nMAIL FROM:<>\r\n")
        await message.read(reader)
        return message, await reader.readuntil()

    message, following = asyncio.run(scenario())

    assert (message.complete(), following) == (b"Hello\r\n", b"MAIL FROM:<>\r\n")


def test_a_connection_goes_on_while_a_message_comes_and_pauses_for_long_commands_as_before() -> None:
    transport = Mock()

    async def scenario() -> None:
        reader = asyncio.StreamReader(limit=1001)
        reader.set_transport(transport)
        message = IncomingMessage(MessageMemory(), "192.0.2.1", 1_000_000, "552 too large")
        reading = asyncio.create_task(message.read(reader))
        await asyncio.sleep(0)
        for _ in range(5):
            reader.feed_data(b"x" * 12_000)
            await asyncio.sleep(0)
        reader.feed_data(b"\r\n.\r\n")
        await reading
        assert len(message.complete()) == 60_002
        transport.pause_reading.assert_not_called()

        reader.feed_data(b"x" * 3000)
        transport.pause_reading.assert_called_once_with()

    asyncio.run(scenario())


def test_a_message_that_ends_in_the_middle_is_none() -> None:
    async def scenario() -> None:
        reader = asyncio.StreamReader(limit=1001)
        reader.feed_data(b"Hello\r\n.\r")
        reader.feed_eof()
        await IncomingMessage(MessageMemory(), "192.0.2.1", 10_000, "552 too large").read(reader)

    with pytest.raises(asyncio.IncompleteReadError):
        asyncio.run(scenario())
