"""The token pages: create one, see its secret once, revoke it."""

from allauth.account.decorators import reauthentication_required
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from accounts.requests import user_of
from core.qr_codes import qr_code
from core.repeats import forget, is_repeated
from domains.models import Domain
from tokens.forms import NewTokenForm
from tokens.models import OwnerChanged, Token

DOMAINS_SHOWN = 20


@require_GET
def token_list(request: HttpRequest) -> HttpResponse:
    """The user's tokens, without their secrets."""
    tokens = Token.objects.owned_by(user_of(request)).select_related("owner")
    return render(request, "tokens/list.html", {"tokens": tokens})


@never_cache
@require_http_methods(["GET", "POST"])
@reauthentication_required  # type: ignore[untyped-decorator]
def token_new(request: HttpRequest) -> HttpResponse:
    """The form for a new token; then its secret, and where to enter it."""
    form = NewTokenForm(request.POST or None)
    issued = None
    if request.method == "POST" and form.is_valid():
        # A form creates one token, however often the page with its secret is loaded.
        if is_repeated(request, settings.SESSION_COOKIE_AGE):
            messages.info(request, gettext("This token was already created; its secret is not shown again."))
            return redirect("token-list")
        try:
            issued = form.issue(user_of(request))
        except OwnerChanged as error:
            messages.error(request, str(error))
            return redirect("token-list")
        finally:
            if issued is None:
                forget(request)
    if issued:
        token, secret = issued
        key = f"{user_of(request).email}:{secret}"
        server, key_label = gettext("Server URL:"), gettext("API key:")
        context = {
            "token": token,
            "key": key,
            "secret": secret,
            "site_url": settings.SITE_URL,
            "qr_code": qr_code(f"{server} {settings.SITE_URL}\n{key_label} {key}"),
            "https": settings.HTTPS,
            # A longer list is of no use; other domains work too.
            "domains": list(Domain.objects.usable_by(user_of(request)).order_by("name")[:DOMAINS_SHOWN]),
        }
        return render(request, "tokens/created.html", context)
    return render(request, "tokens/new.html", {"form": form}, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def token_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for confirmation, then revoke one of the user's tokens."""
    token = get_object_or_404(Token.objects.owned_by(user_of(request)), pk=pk)
    if request.method == "GET":
        return render(request, "tokens/revoke.html", {"token": token})
    token.revoke()
    messages.success(request, gettext("“%(name)s” has been revoked.") % {"name": token.name})
    return redirect("token-list")
