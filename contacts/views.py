"""The pages about an alias's correspondents."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts.requests import user_of
from aliases.bulk_views import back_to_list
from aliases.models import Admits, Alias, SenderAnswer, SenderDomain
from aliases.views import page_of_alias
from contacts.forms import NameForm, NewContactForm, SearchForm
from contacts.models import Contact, ContactQuerySet
from contacts.senders import answer
from core.converters import KEY_DIGITS_MAX
from core.pagination import page_of

PAGE_SIZE = 25
# What is said of each answer about a new sender.
SAID = {
    SenderAnswer.FINE: _("%(sender)s may write to %(alias)s."),
    SenderAnswer.BLOCK: _("Mail from %(sender)s to %(alias)s is now refused."),
    SenderAnswer.ONLY_KNOWN: _(
        "%(alias)s now takes mail only from its website and from people that you know."
    ),
    SenderAnswer.DISABLE: _("%(alias)s now refuses mail."),
}


def mine(request: HttpRequest) -> ContactQuerySet:
    """The reader's contacts, with the alias that each belongs to."""
    return Contact.objects.owned_by(user_of(request)).select_related("alias")


def list_of(contact: Contact) -> str:
    """The address of the list in which the contact stands out."""
    return f"{reverse('contact-list', args=[contact.alias_id])}?new={contact.pk}"


@require_http_methods(["GET", "POST"])
def contact_list(request: HttpRequest, pk: int) -> HttpResponse:
    """The correspondents of one alias, those who wait first; and the form to write to somebody."""
    alias = get_object_or_404(Alias.objects.owned_by(user_of(request)).present(), pk=pk)
    form = NewContactForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (contact := form.add(alias)):
        return redirect(list_of(contact))
    search = SearchForm(request.GET)
    search.is_valid()
    contacts = Contact.objects.of(alias)
    text = search.cleaned_data.get("q") or ""
    page = page_of(contacts.search(text), ("-waiting", "-id"), request.GET.get("cursor", ""), PAGE_SIZE)
    new = request.GET.get("new", "")
    is_key = new.isascii() and new.isdigit() and len(new) <= KEY_DIGITS_MAX
    context: dict[str, Any] = {
        "alias": alias,
        "form": form,
        "search": search,
        "text": text,
        "page": page,
        "new": contacts.filter(pk=new).first() if is_key else None,
        "is_for_known": alias.admits != Admits.ALL,
    }
    status = 422 if form.errors else 200
    if request.htmx and not request.htmx.boosted:  # type: ignore[attr-defined]
        return render(request, "contacts/_list.html", context, status=status)
    return render(request, "contacts/list.html", context, status=status)


@require_http_methods(["GET", "POST"])
def contact_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One correspondent: the reverse address, figures, and the name."""
    contact = get_object_or_404(mine(request), pk=pk)
    form = NameForm(request.POST or None, contact=contact)
    if request.method == "POST" and form.is_valid() and form.apply():
        messages.success(request, gettext("Saved."))
        return redirect("contact", contact.pk)
    context = {"contact": contact, "alias": contact.alias, "form": form}
    return render(request, "contacts/detail.html", context, status=422 if form.errors else 200)


def switch(act: Callable[[Contact], None], said: Callable[[Contact], str]) -> Callable[..., HttpResponse]:
    """A view that applies `act` to one of the reader's contacts."""

    @require_POST
    def view(request: HttpRequest, pk: int) -> HttpResponse:
        contact = get_object_or_404(mine(request), pk=pk)
        act(contact)
        sentence = said(contact)
        if request.htmx:  # type: ignore[attr-defined]
            return render(request, "contacts/_row_changed.html", {"contact": contact, "said": sentence})
        messages.success(request, sentence)
        match request.POST.get("next"):
            case "detail":
                return redirect("contact", contact.pk)
            case "alias":
                return redirect(page_of_alias(request, contact.alias_id))
            case "list":
                return back_to_list(request)
        return redirect("contact-list", contact.alias_id)

    return view


contact_block = switch(
    Contact.block,
    lambda contact: gettext("Mail from %(contact)s is now refused.") % {"contact": contact},
)
contact_unblock = switch(
    Contact.unblock, lambda contact: gettext("Mail from %(contact)s is accepted.") % {"contact": contact}
)


@require_POST
def sender_answer(request: HttpRequest, pk: int) -> HttpResponse:
    """Note what the owner says of a sender who is new to an alias."""
    owned = SenderDomain.objects.owned_by(user_of(request)).select_related("alias")
    sender = get_object_or_404(owned, pk=pk)
    try:
        given = SenderAnswer(request.POST.get("answer", ""))
    except ValueError as error:
        raise Http404 from error
    answer(sender, given)
    messages.success(request, SAID[given] % {"sender": sender, "alias": sender.alias})
    return redirect(page_of_alias(request, sender.alias_id))


@require_http_methods(["GET", "POST"])
def contact_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a contact and its reverse address, after a confirmation."""
    contact = get_object_or_404(mine(request), pk=pk)
    if request.method == "GET":
        return render(request, "contacts/remove.html", {"contact": contact, "alias": contact.alias})
    contact.delete()
    messages.success(request, gettext("%(contact)s has been deleted.") % {"contact": contact})
    return redirect("contact-list", contact.alias_id)
