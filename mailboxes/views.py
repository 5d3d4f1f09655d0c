"""The pages of a user's own addresses: add, verify, make primary, remove, undo."""

from allauth.account.decorators import reauthentication_required
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.views import confirm_email
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.forms import AddEmailForm
from accounts.models import AddressChange, DestinationOnly, User
from accounts.requests import user_of
from aliases.models import AliasDestination
from core.converters import KEY_DIGITS_MAX
from core.exceptions import RateLimited, RuleError
from mailboxes.adding import add_checked, confirm_address, count_refusal, count_try, send_verification
from mailboxes.changing import depending_on, make_primary, remove_address
from mailboxes.exceptions import MailAway
from mailboxes.undo import taken_away, undo


@require_http_methods(["GET", "POST"])
@reauthentication_required(allow_get=True)  # type: ignore[untyped-decorator]
def address_list(request: HttpRequest) -> HttpResponse:
    """The user's addresses, and the form for another one."""
    user = user_of(request)
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
        except RuleError as error:
            messages.error(request, str(error))
        return redirect("address-list")
    counted = AliasDestination.objects.filter(address__user=user, alias__deleted_at=None)
    counts = dict(counted.order_by().values_list("address").annotate(Count("pk")))
    addresses = [
        {"row": row, "aliases": counts.get(row.pk, 0)}
        for row in EmailAddress.objects.filter(user=user)
        .select_related("paused", "destination_only", "openpgp_key")
        .order_by("-primary", "-verified", "email")
    ]
    context = {"form": form, "addresses": addresses}
    return render(request, "addresses/list.html", context, status=422 if form.errors else 200)


def own(request: HttpRequest, pk: int) -> EmailAddress:
    """One of the user's addresses; for other people's, a 404."""
    return get_object_or_404(EmailAddress, user=user_of(request), pk=pk)


@require_POST
@reauthentication_required  # type: ignore[untyped-decorator]
def address_primary(request: HttpRequest, pk: int) -> HttpResponse:
    """Make this address the one that signs in and receives for new aliases."""
    address = own(request, pk)
    try:
        make_primary(user_of(request), address)
    except RuleError as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request, gettext("%(address)s is now your primary address.") % {"address": address.email}
        )
    return redirect("address-list")


@require_POST
def address_verify(request: HttpRequest, pk: int) -> HttpResponse:
    """Send the verification mail again."""
    address = own(request, pk)
    if not address.verified:
        try:
            send_verification(request, address)
        except (MailAway, RateLimited) as error:
            messages.error(request, str(error))
    return redirect("address-list")


@require_http_methods(["GET", "POST"])
@reauthentication_required(allow_get=True)  # type: ignore[untyped-decorator]
def address_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for confirmation, and for another destination if aliases need one; then remove the address."""
    address = own(request, pk)
    others = EmailAddress.objects.filter(user=user_of(request), verified=True).exclude(pk=pk)
    others = others.order_by("-primary", "email")
    if request.method == "POST":
        chosen = request.POST.get("move_to", "")
        is_key = chosen.isascii() and chosen.isdigit() and len(chosen) <= KEY_DIGITS_MAX
        target = others.filter(pk=int(chosen)).first() if is_key else None
        email = address.email
        try:
            moved = remove_address(user_of(request), address, move_to=target)
        except RuleError as error:
            messages.error(request, str(error))
        else:
            said = gettext("%(address)s has been removed.") % {"address": email}
            if moved and target:
                said += " " + ngettext(
                    "%(count)s alias now forwards to %(address)s.",
                    "%(count)s aliases now forward to %(address)s.",
                    moved,
                ) % {"count": moved, "address": target.email}
            messages.success(request, said)
            return redirect("address-list")
    context = {"address": address, "others": others, "stranded": depending_on(address).count()}
    return render(request, "addresses/remove.html", context)


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def address_confirm(request: HttpRequest, key: str) -> HttpResponse:
    """The mailed link. For a further address only its signed-in owner may use it: others may read that
    mailbox. A new account's link works signed out.
    """
    confirmation = EmailConfirmationHMAC.from_key(key)
    answer: HttpResponse
    if confirmation is None or confirmation.email_address.primary:
        answer = confirm_email(request, key=key)
        return answer
    address = confirmation.email_address
    if not isinstance(request.user, User):
        messages.info(request, gettext("Sign in to verify the address."))
        return redirect_to_login(request.get_full_path())
    if address.user_id != request.user.pk:
        raise Http404
    if DestinationOnly.objects.filter(address=address).exists():
        # Added with a token: it needs the recent sign-in that adding it on the page needs.
        answer = _confirm_with_fresh_sign_in(request, address)
        return answer
    return _confirm(request, address)


def _confirm(request: HttpRequest, address: EmailAddress) -> HttpResponse:
    if request.method != "POST":
        return render(request, "addresses/confirm.html", {"address": address})
    try:
        confirm_address(user_of(request), address)
    except RuleError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, gettext("%(address)s has been verified.") % {"address": address.email})
    return redirect("address-list")


_confirm_with_fresh_sign_in = reauthentication_required(_confirm)


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def address_undo(request: HttpRequest, token: str) -> HttpResponse:
    """The link in a mail about a change: ask for confirmation, then undo it. Works signed out."""
    change = AddressChange.objects.by_token(token)
    if change is None:
        return render(request, "addresses/undo_over.html", status=404)
    if request.method == "POST":
        try:
            is_told = undo(change)
        except RuleError as error:
            return render(request, "addresses/undo_over.html", {"said": str(error)}, status=409)
        return render(request, "addresses/undone.html", {"change": change, "is_told": is_told})
    context = {"change": change, "taken": sorted(taken_away(change))}
    return render(request, "addresses/undo.html", context)
