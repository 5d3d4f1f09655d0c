"""A domain's page of DNS records: what to set, what is there, and the domain's DKIM keys."""

from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts.requests import user_of
from core.audit import AuditEntry
from core.exceptions import RateLimited, RuleError
from core.ratelimit import Limit, count_or_refuse
from domains.dkim_keys import drop_key, make_keys
from domains.dns.checking import check
from domains.dns.records import mail_host, rows_for
from domains.models import Domain
from domains.views import one

TOO_MANY_CHECKS = _("Too many checks for now. Try again in %(minutes)s minutes.")


def _count(request: HttpRequest) -> None:
    """Count work that a manager asks for. Raises RateLimited."""
    period = timedelta(hours=1)
    limit = Limit("dns-hour", settings.DNS_CHECKS_PER_HOUR, period, refusal=TOO_MANY_CHECKS)
    count_or_refuse((limit, user_of(request).pk))


def _page(request: HttpRequest, domain: Domain, status: int = 200) -> HttpResponse:
    rows = rows_for(domain)
    context = {
        "domain": domain,
        "check": getattr(domain, "dns_check", None),
        "rows": rows,
        "keys": [row.key for row in rows if row.key],
        "zone": "\n".join(row.record.zone_line for row in rows if row.record),
        "host": mail_host(),
        "signs": settings.MAIL_DKIM == "ours",
    }
    return render(request, "domains/dns.html", context, status=status)


@require_http_methods(["GET", "POST"])
def domain_dns(request: HttpRequest, name: str) -> HttpResponse:
    """The records to set and what the last check found; a POST checks again."""
    domain = one(request, name)
    if request.method == "GET":
        return _page(request, domain)
    try:
        _count(request)
    except RateLimited as error:
        messages.error(request, str(error))
        return _page(request, domain, error.status)
    check(domain)
    return redirect("domain-dns", domain.name)


@require_POST
def domain_dkim_make(request: HttpRequest, name: str) -> HttpResponse:
    """Make the domain's DKIM keys, or the next ones."""
    domain = one(request, name)
    try:
        _count(request)
        keys = make_keys(domain)
    except RuleError as error:
        messages.error(request, str(error))
        return _page(request, domain, error.status)
    for key in keys:
        AuditEntry.objects.record(request, "dkimkey.add", key)
    messages.success(
        request, gettext("The keys have been created. Add their records to the DNS, then check.")
    )
    return redirect("domain-dns", domain.name)


@require_http_methods(["GET", "POST"])
def domain_dkim_drop(request: HttpRequest, name: str, pk: int) -> HttpResponse:
    """Ask for confirmation, then drop a DKIM key."""
    domain = one(request, name)
    key = get_object_or_404(domain.dkim_keys, pk=pk)
    if request.method == "GET":
        (row,) = (row for row in rows_for(domain) if row.key == key)
        return render(request, "domains/dkim_drop.html", {"domain": domain, "row": row})
    AuditEntry.objects.record(request, "dkimkey.delete", key)
    drop_key(key)
    said = gettext("%(selector)s has been deleted. You can remove its record from the DNS.")
    messages.success(request, said % {"selector": key.selector})
    return redirect("domain-dns", domain.name)
