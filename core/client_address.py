"""The client's IP address; a proxy's header counts only if the proxy is trusted."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# A client on a UNIX socket has no address; this word among the trusted networks trusts it.
UNIX = "unix"
# One subscriber's network, in bits (RFC 6177): who has one of its addresses has them all.
IPV6_PREFIX = 64
NEIGHBOURHOOD_PREFIX = {4: 24, 6: 48}


@lru_cache(maxsize=1024)
def parse_ip(text: str) -> IPAddress | None:
    """The IP address in `text` (a port, brackets and a zone are allowed), or None.

    An IPv4 address mapped into IPv6 (RFC 4291 §2.5.5.2) comes back as IPv4.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def in_any(address: IPAddress | None, networks: list[IPNetwork] | tuple[IPNetwork, ...]) -> bool:
    """Whether `address` is known and lies in one of `networks`."""
    return address is not None and any(address in network for network in networks)


def network_of(client: str) -> str:
    """The network that counts as one client: an IPv4 address, or an IPv6 /64. Other text counts as itself."""
    address = parse_ip(client)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return str(address or client)


def neighbourhood_of(client: str) -> str:
    """The network that one provider's customers share, roughly: an IPv4 /24, an IPv6 /48 (RFC 6177).

    "" if the text is not an IP address.
    """
    address = parse_ip(client)
    if address is None:
        return ""
    return str(ip_network((address, NEIGHBOURHOOD_PREFIX[address.version]), strict=False))


def is_trusted(client: str, entries: Sequence[str]) -> bool:
    """Whether the client's address is in one of the networks; without an address it is on a UNIX socket."""
    trusts_unix, networks = _trusted(tuple(entries))
    address = parse_ip(client)
    return trusts_unix if address is None else in_any(address, networks)


@lru_cache(maxsize=8)
def _trusted(entries: tuple[str, ...]) -> tuple[bool, tuple[IPNetwork, ...]]:
    return UNIX in entries, tuple(ip_network(entry) for entry in entries if entry != UNIX)


class TrustedProxyMiddleware(MiddlewareMixin):
    """Puts the client's own address into REMOTE_ADDR, and drops proxy headers from anyone untrusted.

    The client is the last address in X-Forwarded-For that is not a trusted proxy: the client itself may
    have written what comes before it. After this middleware REMOTE_ADDR, X-Forwarded-Proto and the headers
    that name who has signed in (PROXY_SIGN_IN_HEADERS) can be trusted.
    """

    def process_request(self, request: HttpRequest) -> None:
        meta = request.META
        forwarded = meta.pop("HTTP_X_FORWARDED_FOR", "")
        trusts_unix, networks = _trusted(tuple(settings.TRUSTED_PROXIES))
        peer = parse_ip(meta.get("REMOTE_ADDR", ""))
        if in_any(peer, networks) or (peer is None and trusts_unix):
            client = peer
            for entry in reversed(forwarded.split(",")):
                hop = parse_ip(entry)
                if hop is None:
                    break
                client = hop
                if not in_any(hop, networks):
                    break
        else:
            client = peer
            for name in ("HTTP_X_FORWARDED_PROTO", *settings.PROXY_SIGN_IN_HEADERS):
                meta.pop(name, None)
        # In its one form: all of IPv4 mapped into IPv6 lies in one /64, and would count as one client.
        meta["REMOTE_ADDR"] = str(client) if client else ""


def client_network(request: HttpRequest) -> str:
    """The network that counts as one client of the web server."""
    return network_of(request.META.get("REMOTE_ADDR", ""))
