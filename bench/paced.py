"""A paced stream of letters over kept SMTP connections.

`python -m bench.paced PORT RATE SECONDS DOMAIN OCTETS` prints the seconds that each answer to RCPT took, as
JSON. smtp-source knows no rate.

It stands for other machines, which take no part of this one's processors: one thread, which runs before all
others where it may.
"""

import heapq
import json
import os
import selectors
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

CONNECTIONS = 10
ALIASES = 1000
# The niceness that goes before all others.
FIRST = -20


def letters(octets: int) -> bytes:
    """A message of about so many octets."""
    return b"Subject: paced\r\n\r\n" + (b"x" * 76 + b"\r\n") * (octets // 78) + b".\r\n"


def go_first() -> None:
    """Let this thread run before all others, so that what it measures is not its own wait."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)


class Sender:
    """One connection: a letter each time that it is told to begin one, a command after each answer."""

    def __init__(self, port: int, number: int, domain: str, content: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number, self.domain, self.content = number, domain, content
        self.received = b""
        self.said_at = 0.0
        self.latencies: list[float] = []
        # What is said next, with the answers that each of them expects.
        self.steps: list[tuple[bytes, bytes]] = []
        self.expected = b"220"

    def begin(self) -> None:
        """Begin a letter."""
        self.number = (self.number + CONNECTIONS) % ALIASES
        rcpt = f"RCPT TO:<{self.number + 1}n@{self.domain}>\r\n".encode()
        self.steps = [(self.content, b"250"), (b"DATA\r\n", b"354"), (rcpt, b"250")]
        self.say(b"MAIL FROM:<eve@sender.test>\r\n", b"250")

    def say(self, octets: bytes, expected: bytes) -> None:
        self.expected, self.said_at = expected, time.perf_counter()
        self.socket.sendall(octets)

    def hear(self) -> bool:
        """Read what has come, and go on; whether nothing is left to say."""
        now = time.perf_counter()
        octets = self.socket.recv(65536)
        if not octets:
            raise RuntimeError("the server has hung up")
        self.received += octets
        while (end := self.received.find(b"\n")) >= 0:
            line, self.received = self.received[:end], self.received[end + 1 :]
            if line[3:4] == b"-":
                continue
            if not line.startswith(self.expected):
                raise RuntimeError(f"the answer was {line!r}")
            if len(self.steps) == 2:
                self.latencies.append(now - self.said_at)
            if not self.steps:
                return True
            self.say(*self.steps.pop())
        return False


def stream(port: int, rate: float, seconds: float, domain: str, octets: int) -> list[float]:
    """Send so many letters a second, or as many as are taken; the latencies."""
    senders = [Sender(port, number, domain, letters(octets)) for number in range(CONNECTIONS)]
    selector = selectors.DefaultSelector()
    for sender in senders:
        sender.steps = [(b"EHLO paced.test\r\n", b"250")]
        selector.register(sender.socket, selectors.EVENT_READ, sender)
    interval, began = CONNECTIONS / rate, time.monotonic()
    until = began + seconds
    # When each sender begins its next letter, of those that are free.
    due: list[tuple[float, int]] = []
    begun = {number: began + interval * number / CONNECTIONS for number in range(CONNECTIONS)}
    while time.monotonic() < until:
        wait = max(0.0, min(due[0][0] if due else until, until) - time.monotonic())
        for key, _events in selector.select(wait):
            if key.data.hear():
                index = senders.index(key.data)
                heapq.heappush(due, (begun[index], index))
        while due and due[0][0] <= (now := time.monotonic()):
            moment, index = heapq.heappop(due)
            # What could not be sent in time is not made up for without end.
            begun[index] = max(moment + interval, now - interval)
            senders[index].begin()
    for sender in senders:
        sender.socket.close()
    return [latency for sender in senders for latency in sender.latencies]


def main(port: str, rate: str, seconds: str, domain: str, octets: str) -> None:
    go_first()
    # Where each session is a group (sched(7)), its processes' priorities count among themselves alone.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(FIRST))
    print(json.dumps(stream(int(port), float(rate), float(seconds), domain, int(octets))))


if __name__ == "__main__":
    main(*sys.argv[1:])
