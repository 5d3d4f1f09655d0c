"""The pages of a destination's OpenPGP key: give it, look it up, choose how it is used, remove it."""

from allauth.account.decorators import reauthentication_required
from allauth.account.models import EmailAddress
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST

from accounts.requests import user_of
from core.exceptions import RuleError
from mail.encryption import keys
from mail.models import DestinationKey
from mailboxes.key_forms import KeyForm, KeyUseForm


def own(request: HttpRequest, pk: int) -> EmailAddress:
    """One of the reader's verified addresses, with its key; for other people's, a 404."""
    rows = EmailAddress.objects.filter(user=user_of(request), verified=True)
    return get_object_or_404(rows.select_related("openpgp_key", "user"), pk=pk)


def key_of(address: EmailAddress) -> DestinationKey | None:
    """The address's key, if it has one."""
    return getattr(address, "openpgp_key", None)


def page(
    request: HttpRequest,
    address: EmailAddress,
    form: KeyForm | None = None,
    use_form: KeyUseForm | None = None,
    status: int = 200,
) -> HttpResponse:
    key = key_of(address)
    context = {
        "address": address,
        "key": key,
        "form": form or KeyForm(),
        "use_form": use_form or (KeyUseForm.of(key) if key else None),
    }
    return render(request, "addresses/key.html", context, status=status)


@require_http_methods(["GET", "POST"])
@reauthentication_required(allow_get=True)  # type: ignore[untyped-decorator]
def address_key(request: HttpRequest, pk: int) -> HttpResponse:
    """The key by its fingerprint, and the form for another one."""
    address = own(request, pk)
    if request.method != "POST":
        return page(request, address)
    form = KeyForm(request.POST, request.FILES)
    if form.is_valid():
        try:
            keys.give_key(address, form.given)
        except RuleError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, said(address))
            return redirect("address-key", pk=pk)
    return page(request, address, form, status=422)


def said(address: EmailAddress) -> str:
    return gettext("Mail to %(address)s is encrypted from now on.") % {"address": address.email}


@require_POST
@reauthentication_required  # type: ignore[untyped-decorator]
def address_key_lookup(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask the address's domain for the key."""
    address = own(request, pk)
    try:
        keys.look_key_up(address)
    except RuleError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, said(address))
    return redirect("address-key", pk=pk)


@require_POST
@reauthentication_required  # type: ignore[untyped-decorator]
def address_key_use(request: HttpRequest, pk: int) -> HttpResponse:
    """Change how the key is used."""
    address = own(request, pk)
    key = key_of(address)
    if key is None:
        messages.error(request, gettext("This address has no key."))
        return redirect("address-key", pk=pk)
    form = KeyUseForm.of(key, request.POST)
    if not form.is_valid():
        return page(request, address, use_form=form, status=422)
    keys.use_key(key, **form.cleaned_data)
    messages.success(request, gettext("Saved."))
    return redirect("address-key", pk=pk)


@require_http_methods(["GET", "POST"])
@reauthentication_required(allow_get=True)  # type: ignore[untyped-decorator]
def address_key_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for confirmation; then remove the key."""
    address = own(request, pk)
    if request.method != "POST" and key_of(address):
        return render(request, "addresses/key_remove.html", {"address": address, "key": key_of(address)})
    if request.method == "POST" and keys.remove_key(address):
        text = gettext("Mail to %(address)s is no longer encrypted.")
        messages.success(request, text % {"address": address.email})
    return redirect("address-key", pk=pk)
