"""A cheap HTTP/1.1 load: keep-alive connections that each send the next request upon an answer.

`python -m bench.load` reads a JSON object from standard input (`Load`'s fields) and prints a JSON
object: the seconds that were counted, each latency in them in seconds, how many names were not taken at
the first try, and the answers of all the time. Any answer but a 201 with an alias ends it with an error.
"""

import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass, field
from itertools import cycle

WARM_UP = 0.5
_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\ncontent-length: *(\d+)\r\n", re.DOTALL | re.IGNORECASE)


@dataclass
class Load:
    """What to send where, and what came back."""

    port: int
    connections: int
    seconds: float
    requests: list[str]
    latencies: list[float] = field(default_factory=list)
    retried: int = 0
    answers: int = 0
    begin: float = 0.0
    end: float = 0.0
    failure: str = ""

    async def run(self) -> None:
        """Send until the time is over. Sets `failure` to the first answer that is none."""
        loop = asyncio.get_running_loop()
        self.begin = time.perf_counter() + WARM_UP
        self.end = self.begin + self.seconds
        closed = []
        for number in range(self.connections):
            # Each connection has requests, and so users, of its own: no user's lock is measured.
            own = [text.encode() for text in self.requests[number :: self.connections]]
            _transport, client = await loop.create_connection(
                lambda own=own: Client(self, own), "127.0.0.1", self.port
            )
            closed.append(client.closed)
        await asyncio.wait_for(asyncio.gather(*closed), WARM_UP + self.seconds + 60)


class Client(asyncio.Protocol):
    def __init__(self, load: Load, requests: list[bytes]) -> None:
        self.load = load
        self.requests = cycle(requests)
        self.closed = asyncio.get_running_loop().create_future()
        self.received = b""
        self.is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.received = b""
        self.is_waiting = True
        self.sent = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        match = _HEAD.match(head + b"\r\n")
        if match is None:
            return self.fail()
        if len(body) < int(match[2]):
            return
        now = time.perf_counter()
        self.is_waiting = False
        local_part = json.loads(body).get("alias", "").partition("@")[0] if match[1] == b"201" else ""
        if not local_part:
            return self.fail()
        self.load.answers += 1
        if self.load.begin <= now < self.load.end:
            self.load.latencies.append(now - self.sent)
            # `github.<word>`; what has more parts was the second try at least
            self.load.retried += local_part.count(".") > 1
        if now < self.load.end and not self.load.failure:
            self.send()
        else:
            self.transport.close()

    def fail(self) -> None:
        self.load.failure = self.load.failure or self.received.decode(errors="replace")
        self.is_waiting = False
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self.is_waiting:
            self.load.failure = self.load.failure or f"the connection was lost: {error}"
        self.closed.set_result(None)


def main() -> None:
    load = Load(**json.load(sys.stdin))
    asyncio.run(load.run())
    if load.failure:
        sys.exit(f"an answer was no 201 with an alias:\n{load.failure}")
    names = ("seconds", "latencies", "retried", "answers")
    print(json.dumps({name: getattr(load, name) for name in names}))


if __name__ == "__main__":
    main()
