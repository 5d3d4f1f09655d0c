"""A mail server's side of the milter protocol, by another implementation than ours."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address

from kilter.protocol import messages as kilter
from kilter.protocol.buffer import SimpleBuffer

FIELDS = {"Received": "from a.test by b.test; now", "From": "Bob <bob@sender.test>", "Subject": "Hi"}
CLIENT = "192.0.2.1"
ALL_ACTIONS, ALL_STEPS = kilter.ActionFlags.ALL, kilter.ProtocolFlags(0x1FFFFF)


class Mta:
    """One connection."""

    def __init__(self, place: tuple[str, int]) -> None:
        self.connection = socket.create_connection(place, 20)
        self.buffer = SimpleBuffer(1024 * 1024)

    def close(self) -> None:
        self.connection.close()

    def say(self, *messages: kilter.Message) -> None:
        out = SimpleBuffer(1024 * 1024)
        for message in messages:
            message.pack(out)
        self.connection.sendall(out[:].tobytes())

    def hear(self) -> kilter.Message | None:
        """The next answer; None once the milter has hung up."""
        while True:
            try:
                message, size = kilter.Message.unpack(self.buffer)
            except kilter.NeedsMore:
                received = self.connection.recv(65536)
                if not received:
                    return None
                self.buffer[:] = received
                continue
            message.freeze()
            message.release()
            del self.buffer[:size]
            return message

    def negotiate(self) -> kilter.Negotiate:
        self.say(kilter.Negotiate(6, ALL_ACTIONS, ALL_STEPS))
        answer = self.hear()
        assert isinstance(answer, kilter.Negotiate)
        return answer

    def mail(self, sender: str = "bob@sender.test", user: str = "") -> None:
        macros = {"{auth_authen}": user} if user else {}
        self.say(kilter.Macro(ord("M"), macros), kilter.EnvelopeFrom(f"<{sender}>".encode()))

    def rcpt(self, recipient: str, written: str = "") -> str:
        """The answer to a recipient: "" if it goes on."""
        self.say(
            kilter.Macro(ord("R"), {"{rcpt_addr}": recipient}),
            kilter.EnvelopeRecipient((written or f"<{recipient}>").encode()),
        )
        return words(self.hear())

    def end(self, fields: Mapping[str, str] = FIELDS) -> list[kilter.Message]:
        """The answers at the end of a message with this header, as far as the last one."""
        self.say_end(fields)
        return self.hear_end()

    def say_end(self, fields: Mapping[str, str] = FIELDS) -> None:
        header = (
            kilter.Header(name, text.encode("utf-8", "surrogateescape")) for name, text in fields.items()
        )
        self.say(*header, kilter.EndOfMessage(b""))

    def hear_end(self) -> list[kilter.Message]:
        answers = []
        while True:
            answer = self.hear()
            assert answer is not None
            answers.append(answer)
            if isinstance(answer, kilter.Continue | kilter.ReplyCode):
                with suppress(OSError):
                    self.say(kilter.Abort())  # as Postfix does after each message
                return answers


def words(answer: kilter.Message | None) -> str:
    """What the answer refuses with; "" if it goes on."""
    if isinstance(answer, kilter.ReplyCode):
        return bytes(answer.content).rstrip(b"\0").decode()
    assert isinstance(answer, kilter.Continue), answer
    return ""


def connected(place: tuple[str, int]) -> Mta:
    """A mail server that has a client's session with the milter door there."""
    made = Mta(place)
    made.negotiate()
    made.say(kilter.Connect("client.test", ip_address(CLIENT), 25))
    return made
