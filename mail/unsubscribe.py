"""The signed link that disables an alias with one click (RFC 8058), without signing in."""

import hashlib
import hmac
from functools import cache, lru_cache

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from aliases.models import Alias

_SALT = "mail.unsubscribe"


def _signer() -> signing.Signer:
    return signing.Signer(salt=_SALT)


def unsubscribe_path(alias_id: int) -> str:
    """The link's path, whose signed part can only disable this alias."""
    before, after = _around_token()
    value = str(alias_id)
    mac = hmac.digest(_key(settings.SECRET_KEY), value.encode(), "sha256")
    return f"{before}{value}:{signing.b64_encode(mac).decode()}{after}"


@lru_cache(maxsize=4)
def _key(secret: str) -> bytes:
    """The key with which `_signer` signs. It would derive the key anew for each message, and take fifty
    microseconds in all."""
    return hashlib.sha256(f"{_SALT}signer{secret}".encode()).digest()


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
