"""A DNS server for tests, on this machine: the records that it is given, over UDP and TCP."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

# For a name in place of its records: the server fails, or says nothing.
FAILS, SILENT = "fails", "silent"
# Octets of an answer over UDP, beyond which the question has to come over TCP.
_UDP_MAX = 512


class Nameserver:
    """Answers from `records`: for each name its records as text (`MX 10 mx.test.`), FAILS or SILENT."""

    def __init__(self, records: dict[str, list[str] | str]) -> None:
        self.records = records
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    def set(self, name: str, *records: str) -> None:
        self.records[name] = list(records)

    def answer(self, wire: bytes) -> bytes | None:
        question = dns.message.from_wire(wire)
        name, kind = question.question[0].name, question.question[0].rdtype
        text = name.to_text(omit_final_dot=True).lower()
        self.asked.append((text, dns.rdatatype.to_text(kind)))
        answer = dns.message.make_response(question, recursion_available=True)
        while True:
            held = self.records.get(text)
            if held == SILENT:
                return None
            if held == FAILS:
                answer.set_rcode(dns.rcode.SERVFAIL)
            elif held is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            else:
                alias = self._add(answer, text, list(held), kind)
                if alias:
                    text = alias
                    continue
            return answer.to_wire(max_size=65_535)

    def _add(self, answer: Any, name: str, records: list[str], kind: Any) -> str:
        """Add the name's records of that kind; return where a CNAME leads."""
        for record in records:
            held_kind, _space, data = record.partition(" ")
            if held_kind == "CNAME" or held_kind == dns.rdatatype.to_text(kind):
                answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", held_kind, data))
                if held_kind == "CNAME":
                    return data.rstrip(".").lower()
        return ""


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: Nameserver) -> None:
        self.server = server

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        answer = self.server.answer(data)
        if answer is not None and len(answer) > _UDP_MAX:
            short = dns.message.make_response(dns.message.from_wire(data))
            short.flags |= dns.flags.TC
            answer = short.to_wire()
        if answer is not None:
            self.transport.sendto(answer, address)


@contextmanager
def nameserver(records: dict[str, list[str] | str] | None = None) -> Iterator[Nameserver]:
    """A running server; DNS_RESOLVERS is `127.0.0.1:<port>`."""
    server = Nameserver(records or {})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2))
        if (answer := server.answer(await reader.readexactly(length))) is not None:
            writer.write(len(answer).to_bytes(2) + answer)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def start() -> list[Any]:
        while True:
            listener = await asyncio.start_server(over_tcp, "127.0.0.1", 0)
            server.port = listener.sockets[0].getsockname()[1]
            try:
                transport, _protocol = await loop.create_datagram_endpoint(
                    lambda: _Udp(server), local_addr=("127.0.0.1", server.port)
                )
            except OSError:
                listener.close()  # Somebody else has that port for UDP.
                continue
            return [transport, listener]

    async def stop(opened: list[Any]) -> None:
        for one in opened:
            one.close()
        # Closing takes a turn of the loop.
        await asyncio.sleep(0.01)

    opened = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(stop(opened), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
