"""Where mail programs can send from an alias, as people, autoconfig and the DNS are told."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings

from core.listening import Endpoint, endpoint
from domains.dns.services import Service

# The doors' settings, the one that RFC 8314 §3.3 prefers first, and whether TLS comes before the greeting.
_LISTENERS = (("MAIL_SUBMISSION_TLS_LISTEN", True), ("MAIL_SUBMISSION_LISTEN", False))


@dataclass(frozen=True)
class SubmissionServer:
    """A submission door as a mail program reaches it."""

    host: str
    port: int
    is_tls_first: bool
    is_here: bool

    @property
    def security(self) -> str:
        """What programs call the encryption; "" for none, which only this machine itself gets."""
        if self.is_tls_first:
            return "SSL/TLS"
        return "STARTTLS" if settings.MAIL_TLS_CERTIFICATE else ""


def submission_servers() -> list[SubmissionServer]:
    """The doors that the site's people can reach: one at a loopback address only if the site is there too."""
    return [server for server in _servers() if not server.is_here or _is_loopback(_site_host())]


def submission_services() -> list[Service]:
    """The doors that a domain's SRV records name."""
    return [
        Service("_submissions._tcp" if server.is_tls_first else "_submission._tcp", server.port)
        for server in _servers()
        if not server.is_here
    ]


def _servers() -> Iterator[SubmissionServer]:
    for name, is_tls_first in _LISTENERS:
        if (place := _place(name)) and place.path is None:
            is_here = _is_loopback(place.host)
            host = _site_host() if is_here else settings.MAIL_HOSTNAME
            yield SubmissionServer(host, place.port, is_tls_first, is_here)


def _place(name: str) -> Endpoint | None:
    try:
        return endpoint(getattr(settings, name))
    except ValueError:
        return None  # Off, or invalid: a system check says so.


def _site_host() -> str:
    return urlsplit(settings.SITE_URL).hostname or ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
