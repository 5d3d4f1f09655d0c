"""A paced stream of letters over kept SMTP connections: `python -m bench.paced PORT RATE SECONDS`.

Prints the seconds that each answer to RCPT took, as JSON. smtp-source knows no rate.
"""

import json
import socket
import sys
import threading
import time

CONNECTIONS = 10
ALIASES = 1000


def letters(octets: int) -> bytes:
    """A message of about so many octets."""
    return b"Subject: paced\r\n\r\n" + (b"x" * 76 + b"\r\n") * (octets // 78) + b".\r\n"


class Connection:
    """One sender, which starts a letter every `interval` seconds, or as soon as it can."""

    def __init__(self, port: int, number: int, interval: float, until: float) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.stream = self.socket.makefile("rb")
        self.number, self.interval, self.until = number, interval, until
        self.latencies: list[float] = []

    def answer(self) -> bytes:
        while (line := self.stream.readline())[3:4] == b"-":
            continue
        return line

    def say(self, octets: bytes, expected: bytes) -> float:
        began = time.perf_counter()
        self.socket.sendall(octets)
        answer = self.answer()
        if not answer.startswith(expected):
            raise RuntimeError(f"the answer was {answer!r}")
        return time.perf_counter() - began

    def run(self, domain: str, content: bytes) -> None:
        self.answer()
        self.say(b"EHLO paced.test\r\n", b"250")
        next_one = time.monotonic() + self.interval * self.number / CONNECTIONS
        recipient = self.number
        while next_one < self.until:
            time.sleep(max(0.0, next_one - time.monotonic()))
            next_one = max(next_one + self.interval, time.monotonic() - self.interval)
            recipient = (recipient + CONNECTIONS) % ALIASES
            self.say(b"MAIL FROM:<eve@sender.test>\r\n", b"250")
            rcpt = f"RCPT TO:<{recipient + 1}n@{domain}>\r\n".encode()
            self.latencies.append(self.say(rcpt, b"250"))
            self.say(b"DATA\r\n", b"354")
            self.say(content, b"250")
        self.socket.close()


def main(port: str, rate: str, seconds: str, domain: str, octets: str) -> None:
    interval, until = CONNECTIONS / float(rate), time.monotonic() + float(seconds)
    senders = [Connection(int(port), number, interval, until) for number in range(CONNECTIONS)]
    content = letters(int(octets))
    threads = [threading.Thread(target=sender.run, args=(domain, content)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps([latency for sender in senders for latency in sender.latencies]))


if __name__ == "__main__":
    main(*sys.argv[1:])
