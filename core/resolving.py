"""Resolvers of the DNS: the site's own choice of servers, and bounded waits.

Whoever asks loads dnspython for the first question: most processes never ask one.
"""

from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import dns.nameserver
    import dns.resolver

# Seconds for one server's answer, and for all questions of a check together: a page waits for them.
SERVER_TIMEOUT = 1.0
DEADLINE = 2.5
# Octets that a server may send in one UDP datagram (dnsflagday.net/2020).
_PAYLOAD = 1232
_Resolver = TypeVar("_Resolver", bound="dns.resolver.BaseResolver")


def configure(resolver: _Resolver, servers: list[str]) -> _Resolver:
    """The resolver, made to ask these servers (`address` or `address:port`), or its own if there are none.

    Raises ValueError if one of them is not valid.
    """
    if servers:
        resolver.nameservers = [_server(text) for text in servers]
    resolver.timeout, resolver.lifetime = SERVER_TIMEOUT, DEADLINE
    resolver.use_edns(0, 0, _PAYLOAD)
    return resolver


def _server(text: str) -> "dns.nameserver.Nameserver":
    import dns.nameserver

    address, port = text, "53"
    if text.startswith("[") or text.count(":") == 1:
        address, _colon, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    return dns.nameserver.Do53Nameserver(str(ip_address(address)), int(port))
