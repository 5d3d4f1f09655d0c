"""A person's web hooks: make one, see its secret once, see what became of its messages."""

from allauth.account.decorators import reauthentication_required
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.requests import user_of
from core.exceptions import RuleError
from core.pagination import page_of
from core.repeats import forget, is_repeated
from hooks.forms import HookForm
from hooks.messages import write_test
from hooks.models import KEPT, Hook, HookMessage, Stopped

PAGE_SIZE = 25


@require_GET
def hook_list(request: HttpRequest) -> HttpResponse:
    """The reader's web hooks."""
    hooks = Hook.objects.owned_by(user_of(request))
    return render(request, "hooks/list.html", {"hooks": hooks})


@never_cache
@require_http_methods(["GET", "POST"])
@reauthentication_required  # type: ignore[untyped-decorator]
def hook_new(request: HttpRequest) -> HttpResponse:
    """The form for a new hook; then its secret."""
    form = HookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        # A form creates one hook, however often the page with its secret is loaded.
        if is_repeated(request, settings.SESSION_COOKIE_AGE):
            messages.info(request, gettext("This web hook was already made; its secret is not shown again."))
            return redirect("hook-list")
        made = None
        try:
            made = form.make(user_of(request))
        finally:
            if made is None:
                forget(request)
        if made:
            return _show_secret(request, *made)
    return render(request, "hooks/new.html", {"form": form}, status=422 if form.errors else 200)


@require_GET
def hook(request: HttpRequest, pk: int) -> HttpResponse:
    """One hook and its messages, the latest first."""
    found = _mine(request, pk)
    page = page_of(found.messages.all(), ("-id",), request.GET.get("cursor", ""), PAGE_SIZE)
    return render(request, "hooks/hook.html", {"hook": found, "page": page, "days": KEPT.days})


@never_cache
@require_http_methods(["GET", "POST"])
@reauthentication_required  # type: ignore[untyped-decorator]
def hook_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """The form for another URL or other events."""
    found = _mine(request, pk)
    form = HookForm(request.POST or None, initial={"url": found.url, "events": found.events.split()})
    if request.method == "POST" and form.is_valid() and form.change(found):
        messages.success(request, gettext("The web hook has been changed."))
        return redirect("hook", pk)
    return render(
        request, "hooks/edit.html", {"hook": found, "form": form}, status=422 if form.errors else 200
    )


@require_POST
def hook_test(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a message that tells of nothing."""
    found = _mine(request, pk)
    try:
        write_test(found)
    except RuleError as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request, gettext("A test is on its way. Load this page again to see what became of it.")
        )
    return redirect("hook", pk)


@never_cache
@require_http_methods(["GET", "POST"])
@reauthentication_required  # type: ignore[untyped-decorator]
def hook_secret(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for confirmation, then make a new secret and show it."""
    found = _mine(request, pk)
    if request.method == "GET":
        return render(request, "hooks/renew.html", {"hook": found})
    if is_repeated(request, settings.SESSION_COOKIE_AGE):
        messages.info(request, gettext("The new secret was already made; it is not shown again."))
        return redirect("hook", pk)
    return _show_secret(request, found, found.renew_secret())


@require_POST
def hook_start(request: HttpRequest, pk: int) -> HttpResponse:
    """Send messages again."""
    _mine(request, pk).start()
    messages.success(request, gettext("The web hook is on: from now on, it is told what happens."))
    return redirect("hook", pk)


@require_POST
def hook_stop(request: HttpRequest, pk: int) -> HttpResponse:
    """Send no messages until it is started."""
    _mine(request, pk).stop(Stopped.OWNER)
    messages.success(request, gettext("The web hook is off."))
    return redirect("hook", pk)


@require_http_methods(["GET", "POST"])
def hook_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for confirmation, then delete one of the reader's hooks."""
    found = _mine(request, pk)
    if request.method == "GET":
        return render(request, "hooks/remove.html", {"hook": found})
    found.delete()
    messages.success(request, gettext("The web hook has been deleted."))
    return redirect("hook-list")


@require_POST
def message_retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a message again that has not been delivered."""
    mine = HookMessage.objects.owned_by(user_of(request)).select_related("hook")
    message = get_object_or_404(mine, pk=pk)
    try:
        message.retry()
    except RuleError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, gettext("It is sent again. Load this page again to see what became of it."))
    return redirect("hook", message.hook_id)


def _mine(request: HttpRequest, pk: int) -> Hook:
    """The reader's hook of this key. Raises Http404."""
    return get_object_or_404(Hook.objects.owned_by(user_of(request)), pk=pk)


def _show_secret(request: HttpRequest, found: Hook, secret: str) -> HttpResponse:
    return render(request, "hooks/secret.html", {"hook": found, "secret": secret})
