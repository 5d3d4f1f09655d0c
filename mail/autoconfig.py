"""Autoconfig: where a mail program finds the submission door, asked for at a domain of aliases itself.

The format is Thunderbird's (https://wiki.mozilla.org/Thunderbird:Autoconfiguration:ConfigFileFormat).
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port
from django.shortcuts import render
from django.utils.cache import patch_cache_control

from core.addresses import domain_or_none
from domains.models import Domain
from mail.submission import submission_servers

PATHS = frozenset({"/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml"})
# Seconds for which an answer may be kept.
KEPT = 3600


class AutoconfigMiddleware:
    """Answers for the domains of aliases, and `autoconfig.` before them, whatever ALLOWED_HOSTS says: which
    hosts there are is looked up. Any other host, path or method goes on to the site."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path in PATHS and request.method in {"GET", "HEAD"}:
            return _configuration(request) or self.get_response(request)
        return self.get_response(request)


def _configuration(request: HttpRequest) -> HttpResponse | None:
    servers = [server for server in submission_servers() if server.security]
    host, _port = split_domain_port(request.META.get("HTTP_HOST", ""))
    names = [domain_or_none(name) for name in (host, host.removeprefix("autoconfig."))]
    domain = Domain.objects.filter(name__in=names).order_by("name").first() if servers else None
    if domain is None:
        return None
    context = {"domain": domain.name, "servers": servers}
    response = render(request, "mail/autoconfig.xml", context, content_type="text/xml; charset=utf-8")
    patch_cache_control(response, public=True, max_age=KEPT)
    return response
