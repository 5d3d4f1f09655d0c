"""To a provider and back, and the page of connected accounts."""

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from allauth.account.decorators import reauthentication_required
from allauth.account.internal.flows.reauthentication import resume_request
from allauth.account.utils import get_next_redirect_url
from allauth.account.views import login as password_page
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.local_passwords import has_password_form
from accounts.models import Identity, User
from accounts.organisation.arriving import arrive, connect, disconnect
from accounts.organisation.emergency import admin_of
from accounts.organisation.known import name_of
from accounts.organisation.proxy import person_named
from accounts.organisation.refusals import NotProven
from accounts.organisation.signing_in import confirming_provider, note_confirmation, sign_in
from accounts.organisation.sources import OpenIdProvider
from accounts.requests import user_of
from core.audit import AuditEntry
from core.client_address import client_network
from core.exceptions import RuleError
from core.ratelimit import Limit, count_or_refuse

if TYPE_CHECKING:
    from accounts.organisation.openid import Return

SIGN_IN, CONNECT, CONFIRM = "sign-in", "connect", "confirm"
# Each begins a session and asks the provider, so a client has a limit.
BEGINNINGS = Limit("organisation-begin", 30, timedelta(minutes=10))


def refused(request: HttpRequest, error: RuleError) -> HttpResponse:
    """The page that says why somebody does not get in."""
    return render(request, "organisation/refused.html", {"sentence": str(error)}, status=error.status)


def _provider(key: str) -> OpenIdProvider:
    """The provider of this key. Raises Http404."""
    for provider in settings.OIDC_PROVIDERS:
        if provider.key == key:
            return provider
    raise Http404


def _go(request: HttpRequest, key: str, purpose: str, *, fresh: bool = False) -> HttpResponse:
    """A page that sends the browser to the provider.

    Not a redirect: browsers apply `form-action` of the sign-in page to every redirect after its form, and
    where a provider sends people on to nobody knows.
    """
    # It brings three libraries, which few installations need.
    from accounts.organisation import openid

    provider = _provider(key)
    next_url = get_next_redirect_url(request) or ""
    try:
        count_or_refuse((BEGINNINGS, client_network(request)))
        url = openid.begin(request, provider, purpose=purpose, next_url=next_url, fresh=fresh)
    except RuleError as error:
        return refused(request, error)
    return render(request, "organisation/going.html", {"url": url, "provider": provider})


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_page(request: HttpRequest) -> HttpResponseBase:
    """The page with the password form and the providers. Whom a trusted proxy names is signed in at once."""
    try:
        person = person_named(request)
        if person is not None and request.user.is_anonymous:
            user = arrive(person, request)
            return sign_in(request, user, person.source.key, next_url=get_next_redirect_url(request) or "")
    except RuleError as error:
        return refused(request, error)
    if request.method == "POST" and not has_password_form():
        return refused(request, NotProven(gettext("Signing in with a password is off here.")))
    page: HttpResponseBase = password_page(request)
    return page


@login_not_required
@never_cache
@require_POST
def begin(request: HttpRequest, key: str) -> HttpResponse:
    """To the provider, to sign in."""
    return _go(request, key, SIGN_IN)


@never_cache
@require_POST
@reauthentication_required  # type: ignore[untyped-decorator]
def begin_connecting(request: HttpRequest, key: str) -> HttpResponse:
    """To the provider, to connect it with the reader's account."""
    return _go(request, key, CONNECT)


@never_cache
@require_http_methods(["GET", "POST"])
def confirm(request: HttpRequest, key: str) -> HttpResponse:
    """To the provider, to sign in again."""
    provider = confirming_provider(user_of(request))
    if provider is None or provider.key != key:
        raise Http404
    if request.method == "POST":
        return _go(request, key, CONFIRM, fresh=True)
    context = {"provider": provider, "next": get_next_redirect_url(request) or ""}
    return render(request, "organisation/confirm.html", context)


@login_not_required
@never_cache
@require_GET
def back(request: HttpRequest, key: str) -> HttpResponseBase:
    """Back from the provider."""
    from accounts.organisation import openid

    provider = _provider(key)
    try:
        came = openid.finish(request, provider)
        if came.purpose == SIGN_IN:
            return _signed_in(request, provider, came)
        user = request.user
        if not isinstance(user, User) or user.pk != came.user_id:
            raise NotProven(gettext("You have been signed out meanwhile. Sign in, then try again."))
        if came.purpose == CONNECT:
            connect(user, came.person, request)
            messages.success(request, gettext("Connected."))
            return redirect("connected-list")
        return _confirmed(request, provider, came, user)
    except RuleError as error:
        return refused(request, error)


def _signed_in(request: HttpRequest, provider: OpenIdProvider, came: "Return") -> HttpResponse:
    user = arrive(came.person, request)
    return sign_in(
        request, user, provider.key, next_url=came.next_url, has_second_factor=came.has_second_factor
    )


def _confirmed(
    request: HttpRequest, provider: OpenIdProvider, came: "Return", user: User
) -> HttpResponseBase:
    """Go on with what needed a recent sign-in. Raises NotProven if it was none, or another person's."""
    theirs = Identity.objects.owned_by(user).named(provider.issuer, came.person.subject)
    is_recent = time.time() - came.at < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    if not (is_recent and theirs.exists()):
        raise NotProven(gettext("You have not signed in again there as the same person. Try again."))
    # What the provider says of their rights counts now, too.
    arrive(came.person, request)
    note_confirmation(request, user, provider.key)
    request.GET = QueryDict(urlencode({"next": came.next_url}))
    response: HttpResponseBase = resume_request(request) or redirect("account")
    return response


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def emergency(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in the global admin whom a link of `manage.py sign_in_link` names, once a button is pressed."""
    user = admin_of(token)
    if user is None:
        return refused(request, NotProven(gettext("This link no longer works.")))
    if request.method == "POST":
        AuditEntry.objects.record(request, "emergency.sign_in", user)
        return sign_in(request, user, "emergency")
    return render(request, "organisation/emergency.html", {"admin": user})


@require_GET
def connected(request: HttpRequest) -> HttpResponse:
    """The reader's connected accounts, and the providers that can be connected."""
    user = user_of(request)
    rows: list[dict[str, Any]] = [
        {"identity": identity, "name": name_of(identity.issuer)}
        for identity in Identity.objects.owned_by(user)
    ]
    has = {row["identity"].issuer for row in rows}
    others = [provider for provider in settings.OIDC_PROVIDERS if provider.issuer not in has]
    return render(request, "organisation/connected.html", {"rows": rows, "others": others})


@never_cache
@require_POST
@reauthentication_required  # type: ignore[untyped-decorator]
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Disconnect one of the reader's accounts."""
    try:
        disconnect(user_of(request), pk, request)
    except Identity.DoesNotExist as error:
        raise Http404 from error
    except RuleError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, gettext("Disconnected."))
    return redirect("connected-list")
