"""Octets as they come in, in pieces of any size, are the message that was sent."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from mail.server.incoming import IncomingMessage
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
