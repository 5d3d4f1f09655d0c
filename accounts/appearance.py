"""How the pages look and speak to a reader: as the account says, else this browser's cookies, else the
browser's own settings."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import translation

from accounts.models import Theme, User

THEME_COOKIE = "theme"
COOKIE_AGE = timedelta(days=400)  # browsers keep none longer (RFC 6265bis §5.5)


def theme_of(request: HttpRequest) -> str:
    """The theme that the reader has chosen; "" to follow the device."""
    user = getattr(request, "user", None)
    chosen = user.theme if isinstance(user, User) else ""
    kept = request.COOKIES.get(THEME_COOKIE, "")
    return chosen or (kept if kept in Theme.values else "")


def choose(request: HttpRequest, response: HttpResponse, chosen: Mapping[str, str]) -> None:
    """Keep what the reader chose of `theme`, `language`, `shortcuts` and `steps` (each "on" or "off"), in the
    account, and the first two in cookies. An invalid choice counts as none."""
    changes: dict[str, str | bool] = {}
    if (theme := chosen.get("theme")) in Theme.values:
        changes["theme"] = str(theme)
        _keep(response, THEME_COOKIE, str(theme))
    if (language := chosen.get("language")) in dict(settings.LANGUAGES):
        changes["language"] = str(language)
        _keep(response, settings.LANGUAGE_COOKIE_NAME, str(language))
    for name, field in (("shortcuts", "has_shortcuts"), ("steps", "has_first_steps")):
        if chosen.get(name) in {"on", "off"}:
            changes[field] = chosen[name] == "on"
    if isinstance(request.user, User) and changes:
        User.objects.filter(pk=request.user.pk).update(**changes)


def _keep(response: HttpResponse, name: str, value: str) -> None:
    if value:
        response.set_cookie(
            name, value, max_age=COOKIE_AGE, secure=settings.HTTPS, httponly=True, samesite="Lax"
        )
    else:
        response.delete_cookie(name, samesite="Lax")


class LanguageMiddleware:
    """Speaks the language of the reader's account, if it has one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if isinstance(request.user, User) and request.user.language:
            translation.activate(request.user.language)
            request.LANGUAGE_CODE = request.user.language
        return self.get_response(request)
