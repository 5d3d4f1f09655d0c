"""The alias pages: each view finds the owner's aliases, calls one function, and renders the result."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect, replace_url, reswap, retarget

from accounts.requests import user_of
from aliases import naming
from aliases.bulk_views import back_to_list, offer_undo, undo_offered
from aliases.charts import chart_of
from aliases.choosing import choose_domain
from aliases.filters import (
    ORDERS,
    FilterForm,
    count_of,
    count_shown,
    filters_of,
    is_filtered,
    listed,
    mine,
    query_back,
    selected,
)
from aliases.first_page import PAGE_SIZE, first_page
from aliases.forms import SITE_MAX_CHARACTERS, AliasForm, NewAliasForm, own_addresses
from aliases.issuing import issue
from aliases.models import Alias
from aliases.models.sender import SENDERS_MAX
from aliases.rows import row_of
from aliases.websites import parse_site, shared_host
from core.exceptions import RuleError
from core.pagination import page_of
from core.repeats import forget, is_repeated

# The most rows of one answer, for readers who come back to a list that they had scrolled.
ROWS_MAX = 1000
ACTIVITIES_SHOWN = 5
ACTIVITIES_MAX = 200


def rows_asked(request: HttpRequest) -> int:
    """How many rows, from the first one on, the reader has been shown; 0 if the request does not say."""
    rows = request.GET.get("rows", "")
    return min(int(rows), ROWS_MAX) if rows.isascii() and rows.isdigit() and len(rows) < 9 else 0


def shows_steps(query: QueryDict, found: int) -> bool:
    """Whether the first steps are below the list: not where its end is far away."""
    return not is_filtered(query) and found <= PAGE_SIZE


@require_GET
def alias_list(request: HttpRequest) -> HttpResponse:
    """The list of the reader's aliases; for htmx, only the rows."""
    form = FilterForm(request.GET, user=user_of(request))
    filters = filters_of(request.GET)
    cursor, rows_before = request.GET.get("cursor", ""), rows_asked(request)
    is_fragment = request.htmx and not request.htmx.boosted  # type: ignore[attr-defined]
    context: dict[str, Any] = {
        "form": form,
        "filters": filters,
        "is_filtered": is_filtered(request.GET),
    }
    if cursor or rows_before or is_filtered(request.GET):
        aliases, order = selected(request, form)
        page = page_of(aliases, order, cursor, PAGE_SIZE if cursor else max(PAGE_SIZE, rows_before))
        counted = partial(count_of, aliases)
    else:
        name = request.GET.get("order", "")
        page, found = first_page(user_of(request), name if name in ORDERS else "")
        counted = partial(count_shown, found)
    context |= {"page": page, "rows": [row_of(alias) for alias in page.rows]}
    if is_fragment and cursor:
        # Reloading this address, or coming back to it, shows as many rows.
        context["rows_shown"] = rows_shown = rows_before and rows_before + len(page.rows)
        response = render(request, "aliases/_more.html", context)
        if 0 < rows_shown <= ROWS_MAX:
            query = "&".join(filter(None, (filters, f"rows={rows_shown}")))
            response = replace_url(response, f"{reverse('alias-list')}?{query}")
        return response
    context |= {"rows_shown": 0 if cursor else len(page.rows), **counted()}
    context["shows_steps"] = shows_steps(request.GET, context["found"])
    if is_fragment:
        return render(request, "aliases/_list.html", context)
    try:
        context["create_domain"], _style = choose_domain(user_of(request))
    except RuleError as error:
        context["cannot_create"] = str(error)
    context["undo"] = undo_offered(request)
    return render(request, "aliases/list.html", context)


def ignore_repetition(request: HttpRequest) -> HttpResponse:
    """The answer to a form that was sent twice: the list, where the alias is."""
    messages.info(request, gettext("The form was sent twice; the second time was ignored."))
    return redirect(reverse("alias-list") + "?order=newest")


@require_http_methods(["GET", "POST"])
def alias_new(request: HttpRequest) -> HttpResponse:
    """The form that creates an alias."""
    user = user_of(request)
    initial: dict[str, Any] = {}
    try:
        initial["domain"], _style = choose_domain(user)
    except RuleError as error:
        return render(request, "aliases/new.html", {"cannot_create": str(error)})
    # A page that was shared with the app (see its manifest).
    initial["hostname"] = shared_host(request.GET.get("url", ""), request.GET.get("text", ""))
    initial["destinations"] = own_addresses(user).filter(primary=True)
    form = NewAliasForm(request.POST or None, user=user, initial=initial)
    if request.method == "POST" and form.is_valid():
        if is_repeated(request):
            return ignore_repetition(request)
        alias = None
        try:
            alias = form.issue()
        finally:
            if alias is None:
                forget(request)
        if alias:
            messages.success(request, gettext("Your new alias is ready. Copy it and use it."))
            return redirect("alias", alias.pk)
    return render(request, "aliases/new.html", {"form": form}, status=422 if form.errors else 200)


@require_GET
def alias_shape(request: HttpRequest) -> HttpResponse:
    """A fragment that shows what a new alias for this site and domain will look like."""
    form = NewAliasForm(request.GET, user=user_of(request))
    form.is_valid()
    domain = form.cleaned_data.get("domain")
    try:
        chosen, preferred = choose_domain(user_of(request), domain.name if domain else None)
    except RuleError as error:
        return render(request, "aliases/_shape.html", {"refusal": str(error)})
    style = naming.stronger(preferred, chosen.minimum_style)
    shape = naming.shape(parse_site(request.GET.get("hostname", "")[:SITE_MAX_CHARACTERS]), style)
    context = {
        # Only the placeholder “word” is translated; the words themselves are always English.
        "shape": shape.replace("‹word", gettext("‹word")),
        "domain": chosen.display_name,
    }
    return render(request, "aliases/_shape.html", context)


@require_POST
def alias_quick(request: HttpRequest) -> HttpResponse:
    """Create an alias with one click, on the default domain and for the primary address."""
    # A page with scripts sends its form once, and stays for the next alias.
    if not request.htmx and is_repeated(request):  # type: ignore[attr-defined]
        return ignore_repetition(request)
    words = request.POST.get("hostname", "")[:SITE_MAX_CHARACTERS].strip()
    # Words that name no site are what the owner wants to remember.
    note = words if words and not parse_site(words).host else None
    alias = None
    try:
        alias = issue(owner=user_of(request), hostname=words, note=note)
    except RuleError as error:
        if request.htmx:  # type: ignore[attr-defined]
            return said_above(request, str(error))
        messages.error(request, str(error))
        return redirect("alias-list")
    finally:
        if alias is None:
            forget(request)
    if request.htmx:  # type: ignore[attr-defined]
        row = row_of(mine(request).get(pk=alias.pk), is_new=True)
        said = gettext("Your new alias is ready: %(alias)s") % {"alias": alias}
        counted = count_of(listed(request))
        has_steps = shows_steps(query_back(request), counted["found"])
        context = {"row": row, "said": said, "shows_steps": has_steps, **counted}
        return render(request, "aliases/_created.html", context)
    messages.success(request, gettext("Your new alias is ready. Copy it and use it."))
    return redirect("alias", alias.pk)


def said_above(request: HttpRequest, refusal: str) -> HttpResponse:
    """A refusal for htmx, shown above the list, which stays as it is."""
    answer = render(request, "aliases/_created.html", {"refusal": refusal})
    return reswap(retarget(answer, "#created"), "innerHTML")


@require_http_methods(["GET", "POST"])
def alias_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One alias, with its activity and a form to change it."""
    alias = get_object_or_404(mine(request), pk=pk)
    back = query_before(request)
    if alias.is_deleted:
        return render(request, "aliases/deleted_one.html", {"alias": alias, "back": back})
    form = AliasForm(request.POST or None, alias=alias, user=user_of(request))
    if request.method == "POST" and form.is_valid() and form.apply():
        messages.success(request, gettext("Saved."))
        return redirect(page_of_alias(request, alias.pk))
    # A failed attempt may have left refused values on the object.
    alias = get_object_or_404(mine(request).present(), pk=pk) if form.errors else alias
    # By the relations' names, because this app can import neither mail nor contacts.
    activities = alias.activities.select_related("destination", "contact").order_by("-moment", "-pk")
    is_waiting = Q(waiting=True)
    correspondents = alias.contacts.aggregate(all=Count("pk"), waiting=Count("pk", filter=is_waiting))
    shows_all = request.GET.get("activity") == "all"
    number = ACTIVITIES_MAX if shows_all else ACTIVITIES_SHOWN
    found = list(activities[: number + 1])
    senders = list(alias.sender_domains.order_by("answer", "-pk"))
    context = {
        "alias": alias,
        "form": form,
        "correspondents": correspondents,
        "new_senders": [sender for sender in senders if not sender.answer],
        "new_domains": {sender.domain for sender in senders if not sender.answer},
        "answered_senders": [sender for sender in senders if sender.answer],
        "is_full": len(senders) >= SENDERS_MAX,
        "senders_max": SENDERS_MAX,
        "back": back,
        "activities": found[:number],
        "has_more_activities": len(found) > number,
        "shows_all": shows_all,
        "chart": chart_of(alias.activities.all()),
        "restore_days": settings.ALIAS_RESTORE_DAYS,
    }
    return render(request, "aliases/detail.html", context, status=422 if form.errors else 200)


def query_before(request: HttpRequest) -> str:
    """The query string of the list from which the reader came to an alias's page."""
    came_from = urlsplit(request.headers.get("Referer", ""))
    query = QueryDict(came_from.query) if came_from.path == reverse("alias-list") else query_back(request)
    return query.urlencode()


def page_of_alias(request: HttpRequest, pk: int) -> str:
    """The URL of an alias's page, from which the list's filters are found again."""
    back = query_back(request).urlencode()
    return reverse("alias", args=[pk]) + (f"?{urlencode({'back': back})}" if back else "")


def row_answer(request: HttpRequest, alias: Alias, said: str) -> HttpResponse:
    """The answer after a change: for htmx the new row, otherwise a redirect to the page with the button."""
    if request.htmx:  # type: ignore[attr-defined]
        context = {"row": row_of(alias), "said": said, **count_of(listed(request))}
        return render(request, "aliases/_row_changed.html", context)
    messages.success(request, said)
    if request.POST.get("next") == "detail" and not alias.is_deleted:
        return redirect(page_of_alias(request, alias.pk))
    return back_to_list(request)


def row_action(
    action: Callable[[Alias], object], said: Callable[[Alias], str]
) -> Callable[..., HttpResponse]:
    """A view that applies `action` to one of the reader's aliases."""

    @require_POST
    def view(request: HttpRequest, pk: int) -> HttpResponse:
        alias = get_object_or_404(mine(request).present(), pk=pk)
        action(alias)
        return row_answer(request, alias, said(alias))

    return view


alias_enable = row_action(
    Alias.enable, lambda alias: gettext("%(alias)s receives mail again.") % {"alias": alias}
)
alias_disable = row_action(
    Alias.disable, lambda alias: gettext("%(alias)s now refuses mail.") % {"alias": alias}
)
alias_pin = row_action(
    lambda alias: alias.edit(pinned=True),
    lambda alias: gettext("%(alias)s stays at the top.") % {"alias": alias},
)
alias_unpin = row_action(
    lambda alias: alias.edit(pinned=False),
    lambda alias: gettext("%(alias)s is no longer kept at the top.") % {"alias": alias},
)


@require_POST
def alias_note(request: HttpRequest, pk: int) -> HttpResponse:
    """Change an alias's note in its row."""
    alias = get_object_or_404(mine(request).present(), pk=pk)
    try:
        alias.edit(note=request.POST.get("note", ""))
    except RuleError as error:
        if request.htmx:  # type: ignore[attr-defined]
            return said_above(request, str(error))
        messages.error(request, str(error))
        return redirect("alias", pk)
    return row_answer(request, alias, gettext("Saved."))


@require_POST
def alias_delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete an alias, which can be undone."""
    alias = get_object_or_404(mine(request).present(), pk=pk)
    alias.soft_delete()
    if not request.htmx:  # type: ignore[attr-defined]
        offer_undo(request, alias)
        return back_to_list(request)
    said = gettext("%(alias)s has been deleted.") % {"alias": alias}
    if request.POST.get("next") == "detail":
        offer_undo(request, alias)
        return HttpResponseClientRedirect(reverse("alias-list"))
    context = {"alias": alias, "said": said, **count_of(listed(request))}
    return render(request, "aliases/_row_deleted.html", context)


@require_POST
def alias_restore(request: HttpRequest, pk: int) -> HttpResponse:
    """Restore a deleted alias."""
    alias = get_object_or_404(mine(request).deleted(), pk=pk)
    try:
        alias.restore()
    except RuleError as error:
        if request.htmx:  # type: ignore[attr-defined]
            context = {"alias": alias, "said": str(error), "refusal": str(error)}
            return render(request, "aliases/_row_deleted.html", context)
        messages.error(request, str(error))
        return redirect("alias-deleted")
    return row_answer(request, alias, gettext("%(alias)s has been restored.") % {"alias": alias})


@require_GET
def alias_deleted(request: HttpRequest) -> HttpResponse:
    """The deleted aliases that can still be restored, the latest first."""
    aliases = mine(request).deleted()
    page = page_of(aliases, ("-deleted_at", "-id"), request.GET.get("cursor", ""), PAGE_SIZE)
    return render(request, "aliases/deleted.html", {"page": page, "aliases": page.rows})


@require_http_methods(["GET", "POST"])
def alias_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete everything but the address of a deleted alias, after a confirmation."""
    alias = get_object_or_404(mine(request).deleted(), pk=pk)
    if request.method == "GET":
        return render(request, "aliases/remove.html", {"alias": alias})
    address = str(alias)
    Alias.objects.owned_by(user_of(request)).deleted().filter(pk=pk).strip()
    messages.success(request, gettext("%(alias)s has been removed permanently.") % {"alias": address})
    return redirect("alias-deleted")
