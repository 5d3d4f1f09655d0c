"""Messages as Postfix hands them to a door: `python -m bench.mail_load DOOR ENDPOINT SESSIONS`.

Sends as many messages as each line of its input says, over kept sessions, and then prints a line. The doors
are "smtp", "lmtp" and "milter".
"""

import itertools
import struct
import sys
import threading
import time
from collections.abc import Iterator

from core.listening import connect, endpoint

DOMAIN = "d0.example.com"
ALIASES = 1000
SENDER = "eve@sender.test"
OCTETS = 4096
CLIENT = b"mail.sender.test\x004\x30\x39192.0.2.1\x00"


def fields(number: int) -> list[tuple[str, str]]:
    """The header of one message, as long as most are."""
    return [
        ("Received", "from sender.test (mail.sender.test [192.0.2.1]) by mx.example.com; now"),
        ("DKIM-Signature", f"v=1; a=rsa-sha256; d=sender.test; s=x; h=from:to:subject; b={'A' * 340}"),
        ("From", f"Eve <{SENDER}>"),
        ("To", f"{number % ALIASES + 1}n@{DOMAIN}"),
        ("Subject", f"Order {number}"),
        ("Date", "Thu, 26 Nov 2026 12:00:00 +0000"),
        ("Message-ID", f"<{number}@sender.test>"),
        ("MIME-Version", "1.0"),
        ("Content-Type", "text/plain; charset=utf-8"),
    ]


class Session:
    """One connection, which is kept."""

    def __init__(self, place: str) -> None:
        self.connection = connect(endpoint(place), 60)
        self.stream = self.connection.makefile("rb")

    def send(self, number: int) -> None:
        """Send one message. Raises RuntimeError if it is not accepted."""
        raise NotImplementedError


class SmtpSession(Session):
    """Writes commands in one go (RFC 2920)."""

    greeting = b"EHLO load.test\r\n"
    before = b""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.expect(b"220")
        self.say(self.greeting, b"250")

    def expect(self, *codes: bytes) -> None:
        for code in codes:
            while (line := self.stream.readline())[3:4] == b"-":
                continue
            if not line.startswith(code):
                raise RuntimeError(f"the answer was {line!r}")

    def say(self, octets: bytes, *codes: bytes) -> None:
        self.connection.sendall(octets)
        self.expect(*codes)

    def send(self, number: int) -> None:
        recipient = f"{number % ALIASES + 1}n@{DOMAIN}"
        if self.before:
            self.say(self.before, b"250")
        envelope = f"MAIL FROM:<{SENDER}> SIZE={OCTETS}\r\nRCPT TO:<{recipient}>\r\nDATA\r\n"
        self.say(envelope.encode(), b"250", b"250", b"354")
        header = "".join(f"{name}: {text}\r\n" for name, text in fields(number)) + "\r\n"
        body = ("x" * 76 + "\r\n") * ((OCTETS - len(header)) // 78)
        self.say(f"{header}{body}.\r\n".encode(), b"250")


class LmtpSession(SmtpSession):
    """As Postfix's client does over a connection that it has kept."""

    greeting = b"LHLO load.test\r\n"
    before = b"RSET\r\n"


class MilterSession(Session):
    """Postfix's side of the milter protocol."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.say((b"O", struct.pack(">III", 6, 0x1FF, 0x1FFFFF)))
        self.hear()
        self.say((b"D", b"C"), (b"C", CLIENT))

    def say(self, *packets: tuple[bytes, bytes]) -> None:
        self.connection.sendall(
            b"".join(struct.pack(">I", 1 + len(data)) + command + data for command, data in packets)
        )

    def hear(self) -> bytes:
        (length,) = struct.unpack(">I", self.stream.read(4))
        return self.stream.read(length)

    def send(self, number: int) -> None:
        recipient = f"{number % ALIASES + 1}n@{DOMAIN}".encode()
        macro = b"R{rcpt_addr}\0" + recipient + b"\0"
        self.say((b"D", b"M"), (b"M", f"<{SENDER}>\0".encode()), (b"D", macro), (b"R", b"<%b>\0" % recipient))
        self._expect_continue(self.hear())
        header = ((b"L", f"{name}\0{text}\0".encode()) for name, text in fields(number))
        self.say(*header, (b"D", b"E"), (b"E", b""))
        answers = [self.hear()]
        while answers[-1][:1] in b"+-ei":
            answers.append(self.hear())
        self._expect_continue(answers[-1])
        if len(answers) == 1:
            raise RuntimeError("the message was not redirected")
        self.say((b"A", b""))

    def _expect_continue(self, answer: bytes) -> None:
        if answer != b"c":
            raise RuntimeError(f"the answer was {answer!r}")


DOORS: dict[str, type[Session]] = {"smtp": SmtpSession, "lmtp": LmtpSession, "milter": MilterSession}


def send_all(sessions: list[Session], numbers: Iterator[int], count: int) -> None:
    """Send so many messages over all sessions at once."""
    left = itertools.islice(numbers, count)
    lock = threading.Lock()
    failures = []

    def work(session: Session) -> None:
        try:
            while True:
                with lock:
                    number = next(left, None)
                if number is None:
                    return
                session.send(number)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def main(door: str, place: str, sessions: str) -> None:
    opened = [DOORS[door](place) for _ in range(int(sessions))]
    # No message of another run's comes again: it would be recognised.
    numbers = itertools.count(time.time_ns())
    for line in sys.stdin:
        send_all(opened, numbers, int(line))
        print("sent", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
