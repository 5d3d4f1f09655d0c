"""HTTPS requests to addresses that people have named, which must not lead into this site's own network.

The name is resolved once, and the connection goes to what was found; its certificate is checked against the
name. Redirects are not followed. Octets and seconds are bounded for the whole request, however slowly its
parts arrive. Content is never decompressed.
"""

import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from core.addresses import AddressError, domain_to_ascii
from core.resolving import configure

Address = IPv4Address | IPv6Address
URL_MAX = 2000
# Octets of an answer's status and header.
HEADER_MAX = 64 * 1024
# Addresses of a host that are tried, one after the other.
_TRIED = 4
# Below it are the ports of mail, names and shells, which understand parts of a request.
_OTHER_PORTS = 1024
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
# What the IPv6 registry has assigned to hosts (RFC 4291 §2.4), without protocols, tunnels and examples: some
# of these have an IPv4 address within them.
_UNICAST = IPv6Network("2000::/3")
_SPECIAL = [IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
# Of IPv4's registry, what Python calls global in some of its versions.
_PROTOCOLS = IPv4Network("192.0.0.0/24")
# RFC 1918, RFC 6598 and RFC 4193, and this machine itself.
_PRIVATE: list[Any] = [
    *(IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")),
    *(IPv4Network("127.0.0.0/8"), IPv6Network("fc00::/7"), IPv6Network("::1/128")),
]
# Where clouds keep what only their own machines may read, beside 169.254.169.254: Amazon, Alibaba, Azure.
_METADATA = [ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")]


class OutgoingError(Exception):
    """There is no answer. `reason` is a short code without an address in it, which may be logged."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAllowed(OutgoingError):
    """Nothing was sent: the URL is not one that we ask, or its host is in a network that we do not enter."""


class Unreachable(OutgoingError):
    """The host could not be found, reached or trusted, or did not answer in time as HTTP."""


@dataclass(frozen=True)
class Answer:
    """What the server said: its status, and the beginning of its content. `is_cut`: there was more."""

    status: int
    content: bytes
    is_cut: bool


def request(
    url: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    octets_max: int,
    seconds: float,
    allows_private: bool = False,
    authorities: str = "",
) -> Answer:
    """Ask, and return the answer, whatever its status is.

    `octets_max`: of its content, which is not waited for if this is 0. `seconds`: for everything.
    `allows_private`: whether the host may be in a private network. `authorities`: a PEM file of those who may
    vouch for it, "" for the system's.

    Raises NotAllowed and Unreachable.
    """
    ends = time.monotonic() + seconds
    host, port, target = read_url(url, allows_private=allows_private)
    addresses = _allowed(host, ends, allows_private=allows_private)
    try:
        connection = _Connection(host, port, addresses, ends, authorities)
    except OSError as error:
        raise Unreachable("authorities") from error
    connection.octets_left = octets_max + HEADER_MAX
    try:
        connection.request(method, target, body=body, headers={"User-Agent": "Anonmail", **(headers or {})})
        answer = connection.getresponse()
        if not octets_max:
            return Answer(answer.status, b"", is_cut=False)
        content = answer.read(octets_max + 1)
        is_cut = len(content) > octets_max
        if answer.length and not is_cut:
            raise http.client.IncompleteRead(content, answer.length)
        return Answer(answer.status, content[:octets_max], is_cut)
    except _TooMuch as error:
        raise Unreachable("too large") from error
    except TimeoutError as error:
        raise Unreachable("timeout") from error
    except ssl.SSLError as error:
        raise Unreachable(
            "certificate" if isinstance(error, ssl.SSLCertVerificationError) else "tls"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(type(error).__name__) from error
    finally:
        connection.close()


def read_url(url: str, *, allows_private: bool = False) -> tuple[str, int, str]:
    """The host, port, and path with query of a URL that may be asked. Raises NotAllowed."""
    if len(url) > URL_MAX:
        raise NotAllowed("url too long")
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise NotAllowed("url")
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port is not None else 443
    except ValueError as error:
        raise NotAllowed("url") from error
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise NotAllowed("url")
    if port != 443 and port < _OTHER_PORTS:
        raise NotAllowed("port")
    host = _host(parts.hostname, allows_private=allows_private)
    return host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _host(text: str, *, allows_private: bool) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        pass
    try:
        return domain_to_ascii(text)
    except AddressError as error:
        # Inside a network, hosts have short names.
        if allows_private and len(text) < 64 and _HOST_LABEL.fullmatch(text) and not text.isdigit():
            return text
        raise NotAllowed("host") from error


def may_be_asked(address: Address, *, allows_private: bool = False) -> bool:
    """Whether a request may go to this address: it is public, or, if that is allowed, in a private network;
    never a link-local one, where clouds keep their secrets, nor one of many hosts, nor one within another."""
    if address in _METADATA or address.is_multicast or address.is_unspecified or address.is_link_local:
        return False
    if allows_private and any(address in network for network in _PRIVATE):
        return True
    if isinstance(address, IPv6Address):
        return address in _UNICAST and not any(address in network for network in _SPECIAL)
    return address.is_global and not address.is_reserved and address not in _PROTOCOLS


def resolve(host: str, seconds: float) -> list[Address]:
    """The host's addresses, as the DNS has them now. Raises Unreachable."""
    import dns.exception
    import dns.resolver

    servers = settings.DNS_RESOLVERS
    try:
        resolver = configure(dns.resolver.Resolver(configure=not servers), servers)
        found = resolver.resolve_name(host, search=False, lifetime=max(0.01, min(seconds, resolver.lifetime)))
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise Unreachable("dns") from error
    return [ip_address(text) for text in found.addresses()]


def check_host(host: str, *, allows_private: bool = False) -> None:
    """Raise NotAllowed if the host is an address to which no request may go; a name may be any."""
    with suppress(ValueError):
        if not may_be_asked(ip_address(host), allows_private=allows_private):
            raise NotAllowed("address")


def _allowed(host: str, ends: float, *, allows_private: bool) -> list[Address]:
    try:
        addresses: list[Address] = [ip_address(host)]
    except ValueError:
        addresses = resolve(host, ends - time.monotonic())
    # One that is not allowed is no mistake of an honest host.
    if not all(may_be_asked(address, allows_private=allows_private) for address in addresses):
        raise NotAllowed("address")
    return addresses


class _TooMuch(Exception):
    """The answer has more octets than we read."""


class _Connection(http.client.HTTPConnection):
    """A connection to one of these addresses, whose certificate names the host."""

    octets_left = 0

    def __init__(self, host: str, port: int, addresses: list[Address], ends: float, authorities: str) -> None:
        shown = f"[{host}]" if ":" in host else host
        super().__init__(shown, port)
        self.default_port = 443
        self.name, self.addresses, self.ends = host, addresses, ends
        self.context = ssl.create_default_context(cafile=authorities or None)

    def connect(self) -> None:
        plain = self._first_that_answers()
        try:
            plain.settimeout(_left(self.ends))
            secure = self.context.wrap_socket(plain, server_hostname=self.name, do_handshake_on_connect=False)
        except BaseException:
            plain.close()
            raise
        try:
            secure.do_handshake()
        except BaseException:
            secure.close()
            raise
        self.sock: Any = _Timed(secure, self)

    def _first_that_answers(self) -> socket.socket:
        failed: OSError = OSError("no address")
        tried = self.addresses[:_TRIED]
        for number, address in enumerate(tried):
            try:
                # The others have their share of what time is left.
                seconds = _left(self.ends) / (len(tried) - number)
                return socket.create_connection((str(address), self.port), seconds)
            except OSError as error:
                failed = error
        raise failed


def _left(ends: float) -> float:
    """Seconds until then. Raises TimeoutError if there are none."""
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Timed:
    """What http.client needs of a socket: each call ends when the request's time is over."""

    def __init__(self, secure: ssl.SSLSocket, connection: _Connection) -> None:
        self.secure, self.connection = secure, connection

    def sendall(self, octets: bytes) -> None:
        view = memoryview(octets)
        while view:
            self.secure.settimeout(_left(self.connection.ends))
            view = view[self.secure.send(view[:16384]) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        self.secure.close()


class _Reader(io.RawIOBase):
    def __init__(self, timed: _Timed) -> None:
        self.timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        connection = self.timed.connection
        self.timed.secure.settimeout(_left(connection.ends))
        number = self.timed.secure.recv_into(buffer)
        connection.octets_left -= number
        if connection.octets_left < 0:
            raise _TooMuch
        return number
