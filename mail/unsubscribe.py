"""The signed link that disables an alias with one click (RFC 8058), without signing in."""

from functools import cache

from django.contrib.auth.decorators import login_not_required
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from aliases.models import Alias


def _signer() -> signing.Signer:
    return signing.Signer(salt="mail.unsubscribe")


def unsubscribe_path(alias_id: int) -> str:
    """The link's path, whose signed part can only disable this alias."""
    before, after = _around_token()
    return f"{before}{_signer().sign(str(alias_id))}{after}"


@cache
def _around_token() -> tuple[str, str]:
    before, _token, after = reverse("alias-unsubscribe", __name__, args=["-"]).rpartition("-")
    return before, after


# A mail client posts without a session, so there is no CSRF token; the signature is the right.
@csrf_exempt
@login_not_required
@require_http_methods(["GET", "POST"])
def alias_unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """A page that asks, if there is anything to disable; a POST, from that page or a mail client, does it."""
    try:
        alias_id = int(_signer().unsign(token))
    except signing.BadSignature as error:
        raise Http404 from error
    alias = get_object_or_404(Alias.objects.present(), pk=alias_id)
    if request.method == "POST":
        alias.disable()
    if not alias.enabled:
        return render(request, "mail/unsubscribed.html", {"alias": alias})
    return render(request, "mail/unsubscribe.html", {"alias": alias})


# Of their own, so that the mail server need not load every page of the site to know the path.
urlpatterns = [path("unsubscribe/<str:token>/", alias_unsubscribe, name="alias-unsubscribe")]
