"""Replies from aliases' owners over kept SMTP connections: `python -m bench.replies PORT MESSAGES`.

Reads from standard input, as JSON, who writes to which reverse address. smtp-source sends the same Message-ID
again, and says nothing that would prove who has written.
"""

import json
import secrets
import socket
import sys
import threading
from collections.abc import Iterator

SESSIONS = 20
OCTETS = 4096
# The bench's mail servers believe it.
AUTHSERV_ID = "front.bench.test"


def letter(sender: str, recipient: str) -> bytes:
    """A message of about OCTETS octets, with the verdict of a mail server in front."""
    domain = sender.partition("@")[2]
    header = (
        f"Authentication-Results: {AUTHSERV_ID}; dmarc=pass header.from={domain}\r\n"
        f"From: {sender}\r\nTo: {recipient}\r\nSubject: bench\r\nDate: Thu, 26 Nov 2026 12:00:00 +0000\r\n"
        f"Message-ID: <{secrets.token_hex(12)}@{domain}>\r\n\r\n"
    ).encode()
    return header + (b"x" * 76 + b"\r\n") * ((OCTETS - len(header)) // 78) + b".\r\n"


class Session(threading.Thread):
    """One connection, which sends until there is nothing left."""

    def __init__(self, port: int, waiting: Iterator[tuple[str, str]], lock: threading.Lock) -> None:
        super().__init__()
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.stream = self.socket.makefile("rb")
        self.waiting, self.lock = waiting, lock
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.hear(b"220")
            self.say(b"EHLO bench.test\r\n", b"250")
            while pair := self.next():
                sender, recipient = pair
                self.say(f"MAIL FROM:<{sender}>\r\n".encode(), b"250")
                self.say(f"RCPT TO:<{recipient}>\r\n".encode(), b"250")
                self.say(b"DATA\r\n", b"354")
                self.say(letter(sender, recipient), b"250")
            self.say(b"QUIT\r\n", b"221")
        except (OSError, RuntimeError) as error:
            self.error = error

    def next(self) -> tuple[str, str] | None:
        with self.lock:
            return next(self.waiting, None)

    def say(self, octets: bytes, expected: bytes) -> None:
        self.socket.sendall(octets)
        self.hear(expected)

    def hear(self, expected: bytes) -> None:
        while (line := self.stream.readline())[3:4] == b"-":
            continue
        if not line.startswith(expected):
            raise RuntimeError(f"the answer was {line!r}")


def main(port: str, messages: str) -> None:
    pairs = json.load(sys.stdin)
    first = secrets.randbelow(len(pairs))
    waiting = iter([pairs[(first + number) % len(pairs)] for number in range(int(messages))])
    lock = threading.Lock()
    sessions = [Session(int(port), waiting, lock) for _ in range(SESSIONS)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()
    if errors := [session.error for session in sessions if session.error]:
        raise errors[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
