"""Pages that belong to no single app: the home page and a user's account."""

from functools import partial
from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_not_required
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils import timezone, translation
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from accounts import appearance as looks
from accounts.deletion import close_account
from accounts.local_passwords import has_password_form, is_signup_open, takes_passwords
from accounts.models import Theme, User
from accounts.requests import user_of
from aliases import naming
from aliases.choosing import choose_domain, preferences_of
from aliases.forms import PreferencesForm, ReplyPreferencesForm
from aliases.models import Alias
from aliases.websites import parse_site
from anonmail_site.getting_started import first_steps
from core.db.compiled import CompiledQuery
from core.exceptions import RuleError
from core.spreadsheets import csv_download
from domains.models import AliasStyle, Domain
from mail.models import DestinationKey, warned_until
from transfer.formats.anonmail import aliases_csv
from transfer.personal_download import everything

# Each language by its own name, whatever the page's is.
OWN_NAMES = [(code, translation.get_language_info(code)["name_local"]) for code, _name in settings.LANGUAGES]


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """A redirect to the alias list."""
    return redirect("alias-list")


@login_not_required
@require_safe
def icon(request: HttpRequest) -> HttpResponseBase:
    """A redirect to the icon, for browsers that ask for it where a page names none."""
    return redirect(static("icon.svg"), permanent=True)


def navigation(request: HttpRequest) -> dict[str, object]:
    """A context processor: what the frame of each page needs, and the paused destinations."""
    user = getattr(request, "user", None)
    frame: dict[str, object] = {
        "theme": looks.theme_of(request),
        "themes": Theme.choices,
        "languages": OWN_NAMES,
        "providers": settings.OIDC_PROVIDERS,
        "takes_passwords": takes_passwords(),
        "has_password_form": has_password_form(),
    }
    if not isinstance(user, User):
        return frame | {"signup_open": is_signup_open()}
    warned = _WARNED(user=user.pk, until=warned_until())
    return frame | {
        "first_steps": partial(first_steps, user),
        "manages_domains": user.is_superuser or bool(_MANAGED(user=user.pk)),
        "paused_destinations": [row.email for row in warned if hasattr(row, "paused")],
        "ending_keys": [row.openpgp_key for row in warned if _is_ending(row)],
    }


def _warned(user: Any, until: Any) -> Any:
    """The user's addresses of which each page warns."""
    rows = EmailAddress.objects.filter(user=user).select_related("paused", "openpgp_key")
    ending = DestinationKey.objects.ending_by(until).filter(destination=OuterRef("pk"))
    rows = rows.filter(Q(paused__isnull=False) | Exists(ending))
    return rows.defer("openpgp_key__certificate")


_WARNED = CompiledQuery(_warned, user=models.BigIntegerField(), until=models.DateTimeField())
_MANAGED = CompiledQuery(
    lambda user: Domain.objects.with_manager(user).values_list("pk").order_by()[:1],
    user=models.BigIntegerField(),
)


def _is_ending(address: EmailAddress) -> bool:
    key = getattr(address, "openpgp_key", None)
    return key is not None and key.is_used and (key.is_over or key.ends_soon)


@login_not_required
@require_POST
def appearance(request: HttpRequest) -> HttpResponse:
    """Change the theme, the language or what else is shown, and go back to the page."""
    back = request.POST.get("next", "")
    response = redirect(back if url_has_allowed_host_and_scheme(back, allowed_hosts=None) else "home")
    looks.choose(request, response, request.POST)
    return response


@require_http_methods(["GET", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Preferences, with an example of each style, and links to the rest of the account."""
    user = user_of(request)
    # Before the form, which changes the preferences.
    try:
        domain = choose_domain(user)[0].display_name
    except RuleError:
        domain = "example.com"
    form = PreferencesForm(request.POST or None, instance=preferences_of(user), user=user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, gettext("Saved."))
        return redirect("account")
    site = parse_site("github.com")
    examples = [
        {"label": style.label, "address": f"{next(naming.candidates(site, style.value))}@{domain}"}
        for style in AliasStyle
    ]
    context = {"form": form, "examples": examples}
    return render(request, "account_pages/account.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def account_replies(request: HttpRequest) -> HttpResponse:
    """Preferences for answers from aliases."""
    form = ReplyPreferencesForm(request.POST or None, instance=preferences_of(user_of(request)))
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, gettext("Saved."))
        return redirect("account-replies")
    return render(request, "account_pages/replies.html", {"form": form}, status=422 if form.errors else 200)


@never_cache
@require_GET
@reauthentication_required  # type: ignore[untyped-decorator]
def download_json(request: HttpRequest) -> HttpResponse:
    """Everything about the reader, as a file."""
    response = JsonResponse(
        everything(user_of(request)), json_dumps_params={"ensure_ascii": False, "indent": 1}
    )
    response["Content-Disposition"] = f'attachment; filename="anonmail-{timezone.localdate()}.json"'
    return response


@never_cache
@require_GET
@reauthentication_required  # type: ignore[untyped-decorator]
def download_csv(request: HttpRequest) -> HttpResponseBase:
    """The reader's aliases, as a file."""
    return csv_download(aliases_csv(user_of(request)), f"anonmail-{timezone.localdate()}.csv")


@never_cache
@require_http_methods(["GET", "POST"])
@reauthentication_required  # type: ignore[untyped-decorator]
def account_delete(request: HttpRequest) -> HttpResponse:
    """Delete the reader's account after they have typed their address."""
    user = user_of(request)
    wrong = False
    if request.method == "POST":
        if request.POST.get("confirm", "").strip().lower() == user.email:
            try:
                close_account(user)
            except RuleError as error:
                messages.error(request, str(error))
                return redirect("account")
            logout(request)
            messages.success(request, gettext("Your account has been deleted. Your aliases no longer work."))
            return redirect(settings.LOGIN_URL)
        wrong = True
    context = {"wrong": wrong, "count": Alias.objects.owned_by(user).present().count()}
    return render(request, "account_pages/delete.html", context, status=422 if wrong else 200)
