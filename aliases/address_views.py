"""The pages of a user's own addresses: add, verify, make primary, remove."""

from allauth.account.models import EmailAddress
from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_http_methods, require_POST

from accounts.forms import AddEmailForm
from accounts.readers import reader
from aliases.models import AliasDestination
from aliases.own_addresses import (
    MailAway,
    add_checked,
    count_refusal,
    count_try,
    depending_on,
    make_primary,
    remove_address,
    send_verification,
)
from core.converters import KEY_DIGITS_MAX
from core.refusals import RateLimited, RuleError


@require_http_methods(["GET", "POST"])
def address_list(request: HttpRequest) -> HttpResponse:
    """The reader's addresses, and the form for another one."""
    user = reader(request)
    form = AddEmailForm(data=request.POST or None, user=user)
    if request.method == "POST":
        try:
            count_try(user)
            if not form.is_valid():
                count_refusal(form)
        except RateLimited as error:
            messages.error(request, str(error))
            return redirect("address-list")
    if request.method == "POST" and form.is_valid():
        try:
            add_checked(request, form)
        except MailAway as error:
            messages.error(request, str(error))
        return redirect("address-list")
    counted = AliasDestination.objects.filter(address__user=user, alias__deleted_at=None)
    counts = dict(counted.order_by().values_list("address").annotate(Count("pk")))
    addresses = [
        {"row": row, "aliases": counts.get(row.pk, 0)}
        for row in EmailAddress.objects.filter(user=user)
        .select_related("paused")
        .order_by("-primary", "-verified", "email")
    ]
    context = {"form": form, "addresses": addresses}
    return render(request, "addresses/list.html", context, status=422 if form.errors else 200)


def own(request: HttpRequest, pk: int) -> EmailAddress:
    """One of the reader's addresses; anybody else's does not exist."""
    return get_object_or_404(EmailAddress, user=reader(request), pk=pk)


@require_POST
def address_primary(request: HttpRequest, pk: int) -> HttpResponse:
    """Sign in with this address, and forward new aliases to it."""
    address = own(request, pk)
    try:
        make_primary(request, address)
    except RuleError as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request, gettext("%(address)s is your primary address now.") % {"address": address.email}
        )
    return redirect("address-list")


@require_POST
def address_verify(request: HttpRequest, pk: int) -> HttpResponse:
    """Send the verification mail again."""
    address = own(request, pk)
    if not address.verified:
        try:
            send_verification(request, address)
        except MailAway as error:
            messages.error(request, str(error))
    return redirect("address-list")


@require_http_methods(["GET", "POST"])
def address_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """A question, with another address for the aliases that have no other; then the removal."""
    address = own(request, pk)
    others = EmailAddress.objects.filter(user=reader(request), verified=True).exclude(pk=pk)
    others = others.order_by("-primary", "email")
    if request.method == "POST":
        chosen = request.POST.get("move_to", "")
        is_key = chosen.isascii() and chosen.isdigit() and len(chosen) <= KEY_DIGITS_MAX
        target = others.filter(pk=int(chosen)).first() if is_key else None
        email = address.email
        try:
            moved = remove_address(address, move_to=target)
        except RuleError as error:
            messages.error(request, str(error))
        else:
            said = gettext("%(address)s is removed.") % {"address": email}
            if moved and target:
                said += " " + ngettext(
                    "%(count)s alias forwards to %(address)s now.",
                    "%(count)s aliases forward to %(address)s now.",
                    moved,
                ) % {"count": moved, "address": target.email}
            messages.success(request, said)
            return redirect("address-list")
    context = {"address": address, "others": others, "stranded": depending_on(address).count()}
    return render(request, "addresses/remove.html", context)
