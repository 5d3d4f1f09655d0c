"""The alias pages: each view finds the owner's aliases, calls one function, and renders the result."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect, replace_url, reswap, retarget

from accounts.requests import user_of
from aliases import naming
from aliases.charts import chart_of
from aliases.choosing import choose_domain
from aliases.forms import SITE_MAX_CHARACTERS, AliasForm, FilterForm, NewAliasForm, own_addresses
from aliases.issuing import issue
from aliases.models import Alias, AliasQuerySet
from aliases.rows import row_of
from aliases.websites import parse_site
from core.converters import KEY_DIGITS_MAX
from core.exceptions import RuleError
from core.pagination import page_of
from core.repeats import forget, is_repeated

PAGE_SIZE = 25
# The most rows of one answer, for readers who come back to a list that they had scrolled.
ROWS_MAX = 1000
ACTIVITIES_SHOWN = 5
ACTIVITIES_MAX = 200
# The most aliases that one request can change.
BULK_MAX = PAGE_SIZE * 4

ORDERS: dict[str, tuple[str, ...]] = {
    "": ("-pinned", "-active_at", "-id"),
    "newest": ("-created", "-id"),
    "oldest": ("created", "id"),
    "address": ("address",),
    "forwards": ("-forwards", "-id"),
    "blocks": ("-blocks", "-id"),
}
UNDO = "undo_aliases"


def mine(request: HttpRequest) -> AliasQuerySet:
    """The reader's aliases, with the related objects that a row shows."""
    return Alias.objects.owned_by(user_of(request)).select_related("domain", "expiry").with_destinations()


def selected(request: HttpRequest, form: FilterForm) -> tuple[AliasQuerySet, tuple[str, ...]]:
    """The reader's aliases that the filters select, and the order to show them in."""
    aliases = mine(request).present()
    # An invalid value counts as none, and the others stay.
    form.is_valid()
    data = form.cleaned_data
    aliases = aliases.search(data.get("q") or "")
    if domain := data.get("domain"):
        aliases = aliases.filter(domain=domain)
    match data.get("status"):
        case "active":
            aliases = aliases.filter(enabled=True)
        case "disabled":
            aliases = aliases.filter(enabled=False)
        case "unused":
            aliases = aliases.never_used()
    return aliases, ORDERS[data.get("order") or ""]


def rows_asked(request: HttpRequest) -> int:
    """How many rows, from the first one on, the reader has been shown; 0 if the request does not say."""
    rows = request.GET.get("rows", "")
    return min(int(rows), ROWS_MAX) if rows.isascii() and rows.isdigit() and len(rows) < 9 else 0


def filters_of(query: QueryDict) -> str:
    """The query string for the first page with the same filters."""
    kept = query.copy()
    for name in ("cursor", "rows"):
        kept.pop(name, None)
    return kept.urlencode()


@require_GET
def alias_list(request: HttpRequest) -> HttpResponse:
    """The list of the reader's aliases; for htmx, only the rows."""
    form = FilterForm(request.GET, user=user_of(request))
    aliases, order = selected(request, form)
    filters = filters_of(request.GET)
    cursor, rows_before = request.GET.get("cursor", ""), rows_asked(request)
    is_fragment = request.htmx and not request.htmx.boosted  # type: ignore[attr-defined]
    context: dict[str, Any] = {
        "form": form,
        "filters": filters,
        "is_filtered": any(request.GET.get(name) for name in ("q", "domain", "status")),
    }
    page = page_of(aliases, order, cursor, PAGE_SIZE if cursor else max(PAGE_SIZE, rows_before))
    context |= {"page": page, "rows": [row_of(alias) for alias in page.rows]}
    if is_fragment and cursor:
        # Reloading this address, or coming back to it, shows as many rows.
        context["rows_shown"] = rows_shown = rows_before and rows_before + len(page.rows)
        response = render(request, "aliases/_more.html", context)
        if 0 < rows_shown <= ROWS_MAX:
            query = "&".join(filter(None, (filters, f"rows={rows_shown}")))
            response = replace_url(response, f"{reverse('alias-list')}?{query}")
        return response
    context |= {"rows_shown": 0 if cursor else len(page.rows), "found": aliases.count()}
    if is_fragment:
        return render(request, "aliases/_list.html", context)
    try:
        context["create_domain"], _style = choose_domain(user_of(request))
    except RuleError as error:
        context["cannot_create"] = str(error)
    if undo := request.session.pop(UNDO, None):
        context["undo"] = list(mine(request).deleted().filter(pk__in=undo))
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
        return render(request, "aliases/_created.html", {"row": row, "said": said})
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
    if alias.is_deleted:
        return render(request, "aliases/deleted_one.html", {"alias": alias})
    form = AliasForm(request.POST or None, alias=alias, user=user_of(request))
    if request.method == "POST" and form.is_valid() and form.apply():
        messages.success(request, gettext("Saved."))
        return redirect("alias", alias.pk)
    # A failed attempt may have left refused values on the object.
    alias = get_object_or_404(mine(request).present(), pk=pk) if form.errors else alias
    # By the relations' names, because this app can import neither mail nor contacts.
    activities = alias.activities.select_related("destination", "contact").order_by("-moment", "-pk")
    is_waiting = Q(waiting=True)
    correspondents = alias.contacts.aggregate(all=Count("pk"), waiting=Count("pk", filter=is_waiting))
    shows_all = request.GET.get("activity") == "all"
    number = ACTIVITIES_MAX if shows_all else ACTIVITIES_SHOWN
    found = list(activities[: number + 1])
    context = {
        "alias": alias,
        "form": form,
        "correspondents": correspondents,
        "activities": found[:number],
        "has_more_activities": len(found) > number,
        "shows_all": shows_all,
        "chart": chart_of(alias.activities.all()),
        "restore_days": settings.ALIAS_RESTORE_DAYS,
    }
    return render(request, "aliases/detail.html", context, status=422 if form.errors else 200)


def row_answer(request: HttpRequest, alias: Alias, said: str) -> HttpResponse:
    """The answer after a change: for htmx the new row, otherwise a redirect to the page with the button."""
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "aliases/_row_changed.html", {"row": row_of(alias), "said": said})
    messages.success(request, said)
    if request.POST.get("next") == "detail" and not alias.is_deleted:
        return redirect("alias", alias.pk)
    return back_to_list(request)


def back_to_list(request: HttpRequest) -> HttpResponse:
    """Redirect to the list with its filters. Only a query string is taken from the form, never a URL."""
    query = QueryDict(request.POST.get("back", "")[:4000]).urlencode()
    return redirect(reverse("alias-list") + (f"?{query}" if query else ""))


def chosen_keys(request: HttpRequest) -> list[int]:
    """The ids of the selected rows, without invalid ones."""
    keys = request.POST.getlist("selected")[:BULK_MAX]
    return [int(key) for key in keys if key.isascii() and key.isdigit() and len(key) <= KEY_DIGITS_MAX]


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
        request.session[UNDO] = [alias.pk]
        return back_to_list(request)
    said = gettext("%(alias)s has been deleted.") % {"alias": alias}
    if request.POST.get("next") == "detail":
        request.session[UNDO] = [alias.pk]
        return HttpResponseClientRedirect(reverse("alias-list"))
    return render(request, "aliases/_row_deleted.html", {"alias": alias, "said": said})


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


BULK: dict[str, tuple[Callable[[Alias], object], Callable[[int], str]]] = {
    "enable": (
        Alias.enable,
        lambda count: ngettext(
            "%(count)s alias receives mail again.", "%(count)s aliases receive mail again.", count
        ),
    ),
    "disable": (
        Alias.disable,
        lambda count: ngettext(
            "%(count)s alias now refuses mail.", "%(count)s aliases now refuse mail.", count
        ),
    ),
    "delete": (
        Alias.soft_delete,
        lambda count: ngettext(
            "%(count)s alias has been deleted.", "%(count)s aliases have been deleted.", count
        ),
    ),
}


@require_POST
def alias_bulk(request: HttpRequest) -> HttpResponse:
    """Apply the same action to all selected aliases."""
    action, sentence = BULK.get(request.POST.get("action", ""), (None, None))
    chosen = list(mine(request).present().filter(pk__in=chosen_keys(request)))
    if action is None or sentence is None or not chosen:
        messages.warning(request, gettext("Select aliases first, then choose what to do with them."))
    else:
        for alias in chosen:
            action(alias)
        if action is Alias.soft_delete:
            request.session[UNDO] = [alias.pk for alias in chosen]
        else:
            messages.success(request, sentence(len(chosen)) % {"count": len(chosen)})
    return back_to_list(request)


@require_POST
def alias_undo(request: HttpRequest) -> HttpResponse:
    """Restore the aliases of the last deletion."""
    restored = 0
    for alias in mine(request).deleted().filter(pk__in=chosen_keys(request)):
        try:
            alias.restore()
        except RuleError as error:
            messages.error(request, str(error))
            break
        restored += 1
    if restored:
        sentence = ngettext(
            "%(count)s alias has been restored.", "%(count)s aliases have been restored.", restored
        )
        messages.success(request, sentence % {"count": restored})
    return back_to_list(request)
