"""Testing and resuming a paused destination; failed deliveries."""

from allauth.account.decorators import reauthentication_required
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.requests import user_of
from aliases.choosing import preferences_of
from aliases.models import Alias
from core.converters import KEY_DIGITS_MAX
from core.pagination import page_of
from core.sealing import CannotUnseal
from mail.delivery.bounce import resume
from mail.delivery.next_hop import Accepted, Pending, configured_next_hop, send_once
from mail.models import RETURNED_DAYS, FailedDelivery, FailedDeliveryQuerySet

PAGE_SIZE = 25

_TEST = (
    "From: Anonmail <{sender}>\r\nTo: {recipient}\r\nSubject: Anonmail: test of a destination\r\n"
    "Auto-Submitted: auto-generated\r\n\r\n"
    "Mail to this address was refused, so Anonmail had paused it. This mail arrived: it is in use again.\r\n"
)


@require_POST
def address_resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a test to a paused destination; use it again if the next hop takes it."""
    address = get_object_or_404(EmailAddress, user=user_of(request), pk=pk, paused__isnull=False)
    hop = configured_next_hop()
    test = _TEST.format(sender=settings.DEFAULT_FROM_ADDRESS, recipient=address.email)
    outcome = send_once(hop, "", address.email, test.encode())
    if isinstance(outcome, Accepted):
        resume(address)
        said = gettext("%(address)s takes mail again, and aliases forward to it.")
        messages.success(request, said % {"address": address.email})
    elif isinstance(outcome, Pending):
        messages.warning(request, gettext("The test could not be sent just now. Try again later."))
    else:
        said = gettext("%(address)s still refuses mail. It stays paused.")
        messages.error(request, said % {"address": address.email})
    return redirect("address-list")


def mine(request: HttpRequest) -> FailedDeliveryQuerySet:
    """The reader's failed deliveries."""
    return FailedDelivery.objects.owned_by(user_of(request))


def alias_asked(request: HttpRequest) -> Alias | None:
    """The reader's alias that the query string names; None if it names none."""
    key = request.GET.get("alias", "")
    if not (key.isascii() and key.isdigit() and len(key) <= KEY_DIGITS_MAX):
        return None
    return Alias.objects.owned_by(user_of(request)).filter(pk=key).first()


@require_GET
def failed_list(request: HttpRequest) -> HttpResponse:
    """What destinations refused, the latest first; of one alias if the query string names one."""
    alias = alias_asked(request)
    rows = mine(request).newest_first()
    page = page_of(
        rows.filter(alias=alias) if alias else rows,
        ("-moment", "-id"),
        request.GET.get("cursor", ""),
        PAGE_SIZE,
    )
    context = {
        "alias": alias,
        "page": page,
        "keeps_returned": preferences_of(user_of(request)).keeps_returned,
        "days": settings.ACTIVITY_DAYS,
        "returned_days": RETURNED_DAYS,
    }
    return render(request, "mail/failed.html", context)


@require_POST
def failed_keep(request: HttpRequest) -> HttpResponse:
    """Keep messages that come back from now on, or no more."""
    preferences = preferences_of(user_of(request))
    preferences.keeps_returned = request.POST.get("keep") == "yes"
    preferences.save()
    if preferences.keeps_returned:
        said = gettext("Messages that come back are kept from now on.")
    else:
        said = gettext(
            "Messages that come back are no longer kept. Those that are here stay until their date."
        )
    messages.success(request, said)
    return redirect("failed-list")


@require_POST
def failed_delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete an entry, with the message if it is kept."""
    failed = get_object_or_404(mine(request), pk=pk)
    failed.remove()
    messages.success(request, gettext("The entry has been deleted."))
    of_alias = f"?alias={failed.alias_id}" if request.POST.get("of_alias") else ""
    return redirect(reverse("failed-list") + of_alias)


@never_cache
@require_GET
@reauthentication_required  # type: ignore[untyped-decorator]
def failed_download(request: HttpRequest, pk: int) -> HttpResponse:
    """The message that came back, as a file."""
    failed = get_object_or_404(mine(request).select_related("returned"), pk=pk)
    if failed.kept is None:
        raise Http404
    try:
        content = failed.kept.content
    except CannotUnseal as error:
        raise Http404 from error
    disposition = {"Content-Disposition": f'attachment; filename="message-{pk}.eml"'}
    return HttpResponse(content, content_type="message/rfc822", headers=disposition)
