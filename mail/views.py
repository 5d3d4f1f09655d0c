"""Testing and resuming a paused destination."""

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from accounts.requests import user_of
from mail.delivery.bounce import resume
from mail.delivery.next_hop import Accepted, Pending, configured_next_hop, send_once

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
