"""The pages of name spaces: their owners', and those of the managers who give them."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.requests import user_of
from aliases import spaces
from aliases.models import NameSpace
from aliases.space_forms import GiveForm, SpaceForm
from core.audit import AuditEntry
from core.pagination import page_of
from domains.views import one

PAGE_SIZE = 50


@require_GET
def space_list(request: HttpRequest) -> HttpResponse:
    """The reader's name spaces."""
    mine = NameSpace.objects.owned_by(user_of(request)).noting_pauses().select_related("domain")
    return render(request, "aliases/spaces.html", {"spaces": mine})


@require_http_methods(["GET", "POST"])
def space_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """One of the reader's name spaces: what it makes, and what it costs."""
    space = _mine(request, pk)
    form = SpaceForm(request.POST or None, space=space)
    if request.method == "POST" and form.is_valid() and form.save():
        messages.success(request, gettext("Saved."))
        return redirect("name-space", pk)
    return render(
        request, "aliases/space.html", {"space": space, "form": form}, status=422 if form.errors else 200
    )


@require_POST
def space_switch(request: HttpRequest, pk: int) -> HttpResponse:
    """Let mail make aliases, or not any more."""
    space = _mine(request, pk)
    spaces.switch(space, request.POST.get("enabled") == "on")
    said = gettext("From the next message on, mail to new names is refused. Aliases that exist stay.")
    if space.enabled:
        said = gettext("From now on, the first mail to a new name makes an alias.")
    messages.success(request, said)
    return redirect("name-space", pk)


@require_http_methods(["GET", "POST"])
def domain_spaces(request: HttpRequest, name: str) -> HttpResponse:
    """Who has which names of a managed domain, and the form to give some."""
    domain = one(request, name)
    form = GiveForm(request.POST or None, domain=domain, by=user_of(request))
    if request.method == "POST" and form.is_valid() and (space := form.give()):
        AuditEntry.objects.record(request, "namespace.add", space, space.owner.email)
        said = gettext(
            "%(names)s are %(address)s's now. They switch it on under Account, Aliases on the fly."
        )
        messages.success(request, said % {"names": space, "address": space.owner.email})
        return redirect("domain-spaces", space.domain.name)
    given = NameSpace.objects.filter(domain=domain).noting_pauses().select_related("owner", "domain")
    page = page_of(given, ("suffix", "id"), request.GET.get("cursor", ""), PAGE_SIZE)
    return render(
        request,
        "domains/spaces.html",
        {"domain": domain, "form": form, "page": page},
        status=422 if form.errors else 200,
    )


@require_http_methods(["GET", "POST"])
def domain_space_take(request: HttpRequest, name: str, pk: int) -> HttpResponse:
    """Ask for confirmation, then take a name space back."""
    domain = one(request, name)
    space = get_object_or_404(
        NameSpace.objects.filter(domain=domain).select_related("owner", "domain"), pk=pk
    )
    if request.method == "GET":
        return render(request, "domains/space_take.html", {"domain": domain, "space": space})
    AuditEntry.objects.record(request, "namespace.delete", space, space.owner.email)
    said = gettext("Mail to %(names)s makes no aliases any more. Those that exist stay.") % {"names": space}
    space.delete()
    messages.success(request, said)
    return redirect("domain-spaces", domain.name)


def _mine(request: HttpRequest, pk: int) -> NameSpace:
    """The reader's name space of this key. Raises Http404."""
    mine = NameSpace.objects.owned_by(user_of(request)).noting_pauses().select_related("domain")
    return get_object_or_404(mine, pk=pk)
