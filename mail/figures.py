"""How much mail came: to a person's aliases, and for managers to a domain's."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.requests import user_of
from aliases.charts import chart_of
from aliases.models import Alias
from domains.views import one
from mail.models import Activity


@require_GET
def own_figures(request: HttpRequest) -> HttpResponse:
    """The figures of all the reader's aliases."""
    user = user_of(request)
    context = {
        "figures": Alias.objects.owned_by(user).present().figures(),
        "chart": chart_of(Activity.objects.filter(alias__owner=user, alias__deleted_at=None)),
    }
    return render(request, "figures/own.html", context)


@require_GET
def domain_figures(request: HttpRequest, name: str) -> HttpResponse:
    """The figures of a managed domain: sums, which name neither an alias nor a sender."""
    domain = one(request, name)
    aliases = Alias.objects.filter(domain=domain).present()
    context = {
        "domain": domain,
        "figures": aliases.figures(),
        "owners": aliases.order_by().values("owner").distinct().count(),
        "chart": chart_of(Activity.objects.filter(alias__domain=domain, alias__deleted_at=None)),
    }
    return render(request, "figures/domain.html", context)
