"""Questions to the DNS: answers as plain values, each asked once, all before a deadline."""

import asyncio
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from django.conf import settings

from core.resolving import DEADLINE, configure

if TYPE_CHECKING:
    import dns.asyncresolver
    import dns.name

# Octets of a TXT record that are looked at.
TEXT_MAX = 4096

Address = IPv4Address | IPv6Address
RECORDS_OF_VERSION = {4: "A", 6: "AAAA"}


class Unanswered(Exception):
    """The DNS did not answer in time, or its servers failed: there may or may not be a record."""


class Lookups:
    """The questions of one check, asked in a running event loop. Names are taken in any case."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], asyncio.Task[list[Any] | None]] = {}
        self._ends = asyncio.get_running_loop().time() + DEADLINE

    @cached_property
    def _resolver(self) -> "dns.asyncresolver.Resolver":
        return resolver_from(settings.DNS_RESOLVERS)

    async def texts(self, name: str) -> list[str]:
        """The TXT records, each as one text, however many strings it consists of."""
        return [_readable(b"".join(row.strings)) for row in await self._ask(name, "TXT")]

    async def exchanges(self, name: str) -> list[str]:
        """The hosts of the MX records, the preferred ones first; "" is no host (RFC 7505)."""
        rows = await self._ask(name, "MX")
        return [host for _preference, host in sorted((row.preference, _host(row.exchange)) for row in rows)]

    async def services(self, name: str) -> list[tuple[str, int]]:
        """The hosts and ports of the SRV records, the preferred ones first; "" is no host (RFC 2782)."""
        rows = await self._ask(name, "SRV")
        return [(_host(row.target), row.port) for row in sorted(rows, key=lambda row: row.priority)]

    async def addresses(self, name: str, versions: tuple[int, ...] = (4, 6)) -> set[Address]:
        """The host's IP addresses of these versions."""
        answers = await asyncio.gather(
            *(self._ask(name, RECORDS_OF_VERSION[version]) for version in versions)
        )
        return {ip_address(row.address) for rows in answers for row in rows}

    async def _ask(self, name: str, kind: str) -> list[Any]:
        """The records of this name and kind; none if there is no such name. Raises Unanswered."""
        question = (name.rstrip(".").lower(), kind)
        if not question[0]:
            return []
        if question not in self._asked:
            self._asked[question] = asyncio.ensure_future(self._resolve(*question))
        rows = await self._asked[question]
        if rows is None:
            raise Unanswered
        return rows

    async def _resolve(self, name: str, kind: str) -> list[Any] | None:
        import dns.exception
        import dns.name
        import dns.resolver

        try:
            asked = dns.name.from_text(f"{name}.")
        except (dns.exception.DNSException, UnicodeError):
            return []  # This cannot be a name, so there is nothing at it.
        try:
            async with asyncio.timeout_at(self._ends):
                answer = await self._resolver.resolve(asked, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, OSError, TimeoutError):
            return None
        return list(answer.rrset or [])


def resolver_from(servers: list[str]) -> "dns.asyncresolver.Resolver":
    """A resolver that asks these servers (`address` or `address:port`), or, if none, the system's.

    Raises ValueError if one of them is not valid, and dnspython's NoResolverConfiguration.
    """
    import dns.asyncresolver

    return configure(dns.asyncresolver.Resolver(configure=not servers), servers)


def _host(name: "dns.name.Name") -> str:
    return name.to_text(omit_final_dot=True).lower() if len(name) > 1 else ""


def _readable(octets: bytes) -> str:
    """The text of a record, which anybody may have written: printable ASCII, the rest as escapes."""
    text = octets[:TEXT_MAX].decode("ascii", "backslashreplace")
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
