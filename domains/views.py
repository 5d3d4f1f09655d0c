"""The managers' pages: which domains, who has access, grant and revoke."""

from django.contrib import messages
from django.db.models import Count, IntegerField, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods

from accounts.requests import user_of
from core.addresses import domain_or_none
from core.audit import AuditEntry
from core.pagination import page_of
from domains.forms import GrantForm
from domains.models import AccessGrant, Domain, DomainQuerySet

PAGE_SIZE = 50


def managed(request: HttpRequest) -> DomainQuerySet:
    """The domains that the user manages; for others, a 404."""
    return Domain.objects.managed_by(user_of(request))


def with_figures(domains: DomainQuerySet) -> DomainQuerySet:
    """The domains with their numbers of grants and of aliases."""

    def number_of(relation: str, which: Q | None = None) -> Coalesce:
        rows = Domain.objects.filter(pk=OuterRef("pk")).order_by().values("pk")
        counted = rows.annotate(number=Count(relation, filter=which)).values("number")
        return Coalesce(Subquery(counted, output_field=IntegerField()), 0)

    return domains.annotate(
        people=number_of("grants"), number_of_aliases=number_of("aliases", Q(aliases__deleted_at=None))
    )


def one(request: HttpRequest, name: str) -> Domain:
    """The managed domain of this name, in any form."""
    return get_object_or_404(
        with_figures(managed(request)).select_related("dns_check"), name=domain_or_none(name)
    )


@require_GET
def domain_list(request: HttpRequest) -> HttpResponse:
    """The domains that the user manages, with their figures."""
    domains = with_figures(managed(request)).select_related("dns_check")
    if not domains and not user_of(request).is_superuser:
        raise Http404
    return render(request, "domains/list.html", {"domains": domains})


@require_http_methods(["GET", "POST"])
def domain_access(request: HttpRequest, name: str) -> HttpResponse:
    """A domain's access list, and the form to grant access."""
    domain = one(request, name)
    form = GrantForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (grant := form.grant(domain, user_of(request))):
        said = gettext("%(address)s already has access to %(domain)s.")
        if grant.is_new:
            AuditEntry.objects.record(request, "accessgrant.add", grant)
            said = gettext("%(address)s may create aliases on %(domain)s.")
        messages.success(request, said % {"address": grant.user.email, "domain": domain})
        return redirect("domain-access", domain.name)
    grants = AccessGrant.objects.filter(domain=domain).select_related("user", "granted_by")
    page = page_of(grants, ("-created", "-id"), request.GET.get("cursor", ""), PAGE_SIZE)
    context = {"domain": domain, "form": form, "grants": page.rows, "page": page}
    return render(request, "domains/access.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def domain_revoke(request: HttpRequest, name: str, pk: int) -> HttpResponse:
    """Ask for confirmation, then revoke a grant."""
    domain = one(request, name)
    grant = get_object_or_404(AccessGrant.objects.filter(domain=domain).select_related("user"), pk=pk)
    if request.method == "GET":
        return render(request, "domains/revoke.html", {"domain": domain, "grant": grant})
    AuditEntry.objects.record(request, "accessgrant.delete", grant)
    domain.revoke(grant.user)
    messages.success(
        request,
        gettext("%(address)s no longer has access to %(domain)s. Existing aliases still receive mail.")
        % {"address": grant.user.email, "domain": domain},
    )
    return redirect("domain-access", domain.name)
