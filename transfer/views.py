"""The pages of an import: a file, what is wrong with it or what it would make, and the button to make it."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from accounts.requests import user_of
from core.audit import AuditEntry
from core.exceptions import RateLimited
from domains.models import Domain
from transfer import importing
from transfer.formats.text import FILE_MAX_BYTES, too_large
from transfer.making import ImportRefused, Made
from transfer.models import PendingImport, State
from transfer.rows import ImportFileError

SHOWN = 100
# A file with the form around it.
UPLOAD_MAX_BYTES = FILE_MAX_BYTES + 64 * 1024


@csrf_exempt  # the check would read the whole body first; the inner view does it
@require_http_methods(["GET", "POST"])
def alias_import(request: HttpRequest) -> HttpResponse:
    """The form for a file, or the reader's pending file. A body that is too large is not read."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if request.method == "POST" and (
        not (length.isascii() and length.isdigit()) or int(length) > UPLOAD_MAX_BYTES
    ):
        return _form(request, too_large(), status=413)
    return _alias_import(request)


@csrf_protect
def _alias_import(request: HttpRequest) -> HttpResponse:
    if request.method == "GET":
        pending = _pending(request)
        if pending is None:
            return _form(request)
        return render(request, "transfer/import.html", _context(pending))
    file = request.FILES.get("file")
    if file is None:
        return _form(request, gettext("Choose a file first."), status=422)
    if file.size is None or file.size > FILE_MAX_BYTES:
        return _form(request, too_large(), status=413)
    try:
        pending = importing.upload(user_of(request), file.read(), file.name or "")
    except (RateLimited, importing.OnlyAdmins) as error:
        return _form(request, str(error), status=error.status)
    except ImportFileError as error:
        return _form(request, str(error), status=422)
    if not pending.is_of_server:
        importing.check_rows(pending)
    return redirect("alias-import")


@require_POST
def alias_import_check(request: HttpRequest) -> HttpResponse:
    """Go on checking: for a second at a time if htmx shows the progress, else to the end.

    A whole server's file is checked in one go, with its admin's choices.
    """
    pending = _pending(request)
    if pending is None:
        return _go(request, "alias-import")
    if pending.is_of_server:
        choices = {name: name in request.POST for name in ("create_domains", "create_users")}
        importing.check_server(pending, **choices)
    elif request.htmx:  # type: ignore[attr-defined]
        importing.check_rows(pending)
    else:
        importing.check_rows(pending, seconds=None)
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "transfer/_import.html", _context(pending))
    return redirect("alias-import")


@require_POST
def alias_import_make(request: HttpRequest) -> HttpResponse:
    """Make the aliases of the reader's file, all of them or none."""
    pending = _pending(request)
    if pending is None or pending.state != State.READY:
        return _go(request, "alias-import")
    try:
        made = importing.make_pending(pending)
    except ImportRefused:
        return _go(request, "alias-import")
    except importing.OnlyAdmins as error:
        messages.error(request, str(error))
        return _go(request, "alias-import")
    if made is not None and pending.is_of_server:
        _report_server(request, pending, made)
        return _go(request, "alias-import")
    if made is not None:
        said = ngettext("%(count)s alias is imported.", "%(count)s aliases are imported.", made.aliases)
        messages.success(request, said % {"count": made.aliases})
    return _go(request, "alias-list")


def _report_server(request: HttpRequest, pending: PendingImport, made: Made) -> None:
    """Show the admin the numbers, and record them in the audit."""
    numbers = {"domains": made.domains, "users": made.users, "aliases": made.aliases}
    facts = {
        "format": pending.format,
        "create_domains": pending.create_domains,
        "create_users": pending.create_users,
        **numbers,
    }
    detail = ", ".join(f"{name}={value}" for name, value in facts.items())
    AuditEntry.objects.record(request, "alias.import", detail=detail)
    said = gettext("Imported: %(domains)s new domains, %(users)s new users, %(aliases)s aliases.")
    messages.success(request, said % numbers)


@require_POST
def alias_import_leave_out(request: HttpRequest) -> HttpResponse:
    """Leave out the entries of the reader's file that are wrong, and show the rest."""
    pending = _pending(request)
    if pending is not None:
        importing.leave_out_wrong(pending)
    return redirect("alias-import")


@require_POST
def alias_import_cancel(request: HttpRequest) -> HttpResponse:
    """Delete the reader's file."""
    PendingImport.objects.filter(owner=user_of(request)).delete()
    return redirect("alias-import")


def _pending(request: HttpRequest) -> PendingImport | None:
    try:
        return importing.pending_import(user_of(request))
    except importing.OnlyAdmins as error:
        messages.error(request, str(error))
        return None


def _go(request: HttpRequest, name: str) -> HttpResponse:
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponseClientRedirect(reverse(name))
    return redirect(name)


def _form(request: HttpRequest, refusal: str = "", *, status: int = 200) -> HttpResponse:
    domains = Domain.objects.usable_by(user_of(request))[:SHOWN]
    context = {"refusal": refusal, "domains": domains, "max_megabytes": FILE_MAX_BYTES // 2**20}
    return render(request, "transfer/import.html", context, status=status)


def _context(pending: PendingImport) -> dict[str, Any]:
    context: dict[str, Any] = {"pending": pending, "total": pending.total}
    if pending.is_of_server:
        document = pending.document
        context["in_file"] = {
            "domains": len(document.domains),
            "users": len(document.users),
            "aliases": len(document.rows) + len(document.left_out),
        }
        if numbers := pending.preview.get("numbers"):
            context["more_previewed"] = {
                name: number - len(pending.preview[name]) for name, number in numbers.items()
            }
            context["is_empty"] = not (numbers["domains"] or numbers["users"] or numbers["aliases"])
    elif pending.state == State.READY:
        context["rows"] = pending.valid_rows[:SHOWN]
        context["more"] = context["total"] - len(context["rows"])
    if pending.state in {State.WRONG, State.STOPPED}:
        context["problems"] = pending.problems_in_order[:SHOWN]
        context["more"] = len(pending.problems) - len(context["problems"])
        context["right_count"] = pending.right_count
    return context
